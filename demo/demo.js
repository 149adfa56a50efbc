// Starts the page without a server.
const { description } = document.body.dataset;
Promise.all([import("./browser_backend.js"), import("./main.js")])
  .then(([{ createBrowserBackend }, { start }]) =>
    start(document.body, createBrowserBackend(), { description, examples: "examples.png" }))
  .catch((error) => {
    console.error(error);
    const message = document.querySelector(".start");
    message.textContent = message.dataset.failed;
  });
navigator.serviceWorker?.register("service_worker.js"); // absent without https, except on localhost
