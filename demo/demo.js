// Starts the page without a server.
import { createBrowserBackend } from "./browser_backend.js";
import { start } from "./main.js";

const { description } = document.body.dataset;
start(document.body, createBrowserBackend(), { description, examples: "examples.png" });
navigator.serviceWorker?.register("service_worker.js"); // absent without https, except on localhost
