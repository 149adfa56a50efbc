// Keeps the site for later visits, which need no connection. demo/build.py puts two constants in front: FILES, the
// addresses relative to this file, and VERSION, a hash of their content.

const INDEX = "./"; // some hosts redirect index.html to it, and a page may not come from a redirected response
const PREFIX = "digitnet " + registration.scope + " "; // caches are shared by all sites of the host
const CACHE = PREFIX + VERSION;

addEventListener("install", (event) => {
  skipWaiting(); // the next reload shows the new version
  // no-cache: what the browser has is only compared with the host's, and not loaded again.
  const requests = FILES.map((name) => new Request(name, { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)));
});

addEventListener("activate", (event) => {
  event.waitUntil(deleteOtherVersions().then(() => clients.claim()));
});

async function deleteOtherVersions() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(PREFIX) && name !== CACHE).map((name) => caches.delete(name)));
}

addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const address = origin + pathname;
  if (event.request.method !== "GET" || !address.startsWith(registration.scope)) return;
  const path = address.slice(registration.scope.length);
  const name = ["", "index.html"].includes(path) ? INDEX : path;
  if (FILES.includes(name)) event.respondWith(find(name, event.request));
});

async function find(name, request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(name)) ?? fetch(request);
}
