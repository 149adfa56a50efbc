// Tabs as the ARIA Authoring Practices describe them: arrow keys, Home and End choose one.

/**
 * Connect tabs with their panels.
 *
 * @param {HTMLElement} root - contains the elements with role="tab" and their panels
 * @param {(id: string) => void} onSelect - called with the id of the tab that was chosen
 * @returns {{select: (id: string) => void, selected: string}}
 */
export function createTabs(root, onSelect) {
  const tabs = [...root.querySelectorAll("[role=tab]")];
  let selected = tabs[0].id;

  function select(id) {
    if (id === selected) return;
    selected = id;
    for (const tab of tabs) {
      const isSelected = tab.id === id;
      tab.setAttribute("aria-selected", String(isSelected));
      tab.tabIndex = isSelected ? 0 : -1;
      root.querySelector(`#${tab.getAttribute("aria-controls")}`).hidden = !isSelected;
    }
    onSelect(id);
  }

  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => select(tab.id));
    tab.addEventListener("keydown", ({ key }) => {
      const count = tabs.length;
      const next = { ArrowRight: (index + 1) % count, ArrowLeft: (index + count - 1) % count, Home: 0, End: count - 1 }[key];
      if (next === undefined) return;
      tabs[next].focus();
      select(tabs[next].id);
    });
  });
  return { select, get selected() { return selected; } };
}
