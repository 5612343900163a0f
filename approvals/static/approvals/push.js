// Being told in this browser that a decision waits, also while no page is open.
//
// `call(method, path, body)` asks the REST API as the person who is logged in, and returns the answer's JSON.

const PUSH = "/api/v1/push";
const WORKER = "/sw.js";

const isSupported = () => "serviceWorker" in navigator && "PushManager" in window && "Notification" in window;

/**
 * What can be done about it here: "unsupported" by the browser, "unavailable" on this server, "denied" by the
 * person in the browser's own settings, "off" or "on". What is on is told to the server again: browsers renew their
 * keys, and a browser tells whoever is logged in.
 */
export async function pushState(call) {
  if (!isSupported()) return "unsupported";
  const { public_key: key } = await call("GET", PUSH);
  if (!key) return "unavailable";
  if (Notification.permission === "denied") return "denied";
  const subscription = await current();
  if (!subscription || !isOf(subscription, key)) return "off";
  await register(call, subscription);
  return "on";
}

/** Ask the person for leave, which browsers allow on a click only, and have this browser told; the new state. */
export async function enablePush(call) {
  if (!isSupported()) return "unsupported";
  // First of all: after the first wait for the network the click may count no more.
  const permission = await Notification.requestPermission();
  if (permission !== "granted") return permission === "denied" ? "denied" : "off";
  const { public_key: key } = await call("GET", PUSH);
  if (!key) return "unavailable";
  await navigator.serviceWorker.register(WORKER);
  const { pushManager } = await navigator.serviceWorker.ready;
  const old = await pushManager.getSubscription();
  if (old && !isOf(old, key)) await old.unsubscribe(); // the server has new keys
  const applicationServerKey = bytes(key);
  await register(call, await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey }));
  return "on";
}

/** Have this browser told no more. */
export async function disablePush(call) {
  const subscription = await current();
  if (!subscription) return;
  const { id } = await register(call, subscription);
  await call("DELETE", `${PUSH}/subscriptions/${id}`);
  await subscription.unsubscribe();
}

async function current() {
  const registration = await navigator.serviceWorker.getRegistration(WORKER);
  return (await registration?.pushManager.getSubscription()) ?? null;
}

function register(call, subscription) {
  const { endpoint, keys } = subscription.toJSON();
  return call("POST", `${PUSH}/subscriptions`, { endpoint, keys: { p256dh: keys.p256dh, auth: keys.auth } });
}

function isOf(subscription, key) {
  const used = subscription.options.applicationServerKey;
  return used !== null && String(new Uint8Array(used)) === String(bytes(key));
}

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
