// The back end that sends images to the server of the page.
import { BackendError } from "./backend.js";

const CAUSES = { 400: "invalid", 403: "refused", 404: "invalid", 409: "refused", 413: "too large", 429: "busy", 503: "busy", 507: "full" };
const TIMEOUT = 10_000; // milliseconds, of a request that has no other one
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"]; // reachable without a connection

/**
 * Make the back end.
 *
 * @param {URL} root - the address of the routes
 * @param {{canSave: boolean, canTeach?: boolean}} options - whether the server saves corrections and adapts the model
 */
export function createServer(root, { canSave, canTeach = false }) {
  const post = (path, body, signal) => send(path, { method: "POST", body, ...(signal && { signal }) });

  async function send(path, options) {
    let response;
    try {
      response = await fetch(new URL(path, root), { signal: AbortSignal.timeout(TIMEOUT), cache: "no-store", ...options });
    } catch (error) {
      if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
      const isOffline = !navigator.onLine && !LOOPBACK.includes(location.hostname);
      throw new BackendError(isOffline ? "offline" : "gone");
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer) return answer;
    throw new BackendError(CAUSES[response.status] ?? "gone", answer?.error); // without one, for example behind a proxy
  }

  return {
    classify: (blob, signal) => post("classify", blob, signal),
    read: (blob, signal) => post("read", blob, signal),
    explain: (blob, signal) => post("explain", blob, signal),
    ...(canTeach && {
      teaching: {
        status: () => send("teaching"),
        start: () => post("teaching/start"),
        cancel: () => post("teaching/cancel"),
        use: (model) => post(`teaching/use?model=${model}`),
      },
    }),
    ...(canSave && { save: (blob, digit) => post(`corrections?digit=${digit}`, blob) }),
  };
}
