// Refresh open pages. After a server-sent event about a change, the page is fetched again and
// its `data-live` parts are replaced. Without the event stream, the page is refreshed at a fixed
// interval.
(() => {
  const MIN_INTERVAL = 1000, FALLBACK_INTERVAL = 30000;  // milliseconds
  const LIST_PAGES = ["/devices/device/", "/monitoring/alert/"];
  const isList = LIST_PAGES.some((path) => location.pathname.endsWith(path));
  const liveParts = (page) =>
    page.querySelectorAll(isList ? "[data-live], #changelist-form" : "[data-live]");
  let stream = null, timer = null, notBefore = 0;
  let refreshing = false, refreshAgain = false, wasOpen = false;

  const isInUse = (part) =>
    part.contains(document.activeElement) || part.querySelector("input:checked");

  // Django's script for list actions must be started again for new check boxes.
  function initActions() {
    const parent = document.querySelector(".result-list-wrapper");
    const checkboxes = document.querySelectorAll("tr input.action-select");
    if (parent && checkboxes.length && window.Actions) Actions(checkboxes, { parent });
  }

  function replaceParts(page) {
    for (const part of liveParts(document)) {
      const newPart = page.getElementById(part.id);
      if (!newPart || isInUse(part) || newPart.innerHTML === part.innerHTML) continue;
      const replacement = document.importNode(newPart, true);
      part.replaceWith(replacement);
      replacement.dispatchEvent(new CustomEvent("portal:replaced", { bubbles: true }));
      if (part.id === "changelist-form") initActions();
    }
  }

  async function refresh() {
    timer = null;
    refreshing = true;
    refreshAgain = false;
    const started = Date.now();
    try {
      const response = await fetch(location.href, { headers: { "X-Requested-With": "live" } });
      if (response.ok && !response.redirected) {
        replaceParts(new DOMParser().parseFromString(await response.text(), "text/html"));
      }
    } catch { /* the next event or interval refreshes the page */ }
    refreshing = false;
    // Pages that take long to render are fetched less often.
    notBefore = Date.now() + Math.max(MIN_INTERVAL, 3 * (Date.now() - started));
    if (refreshAgain) scheduleRefresh();
  }

  function scheduleRefresh() {
    if (refreshing) refreshAgain = true;
    else if (timer === null) timer = setTimeout(refresh, Math.max(50, notBefore - Date.now()));
  }

  // The page of one device ignores events that are only about other devices.
  function isRelevant(hint) {
    const match = location.pathname.match(/\/devices\/device\/([0-9a-f-]{36})\//);
    return !match || hint.devices === null || hint.devices.includes(match[1]);
  }

  // Progress without events: a part names the seconds until the next refresh.
  function refreshOften() {
    const part = document.querySelector("[data-live-seconds]");
    setTimeout(() => {
      if (part && !document.hidden) scheduleRefresh();
      refreshOften();
    }, 1000 * (part ? part.dataset.liveSeconds : 10));
  }

  function open() {
    if (stream || document.hidden) return;
    const tenant = (location.pathname.match(/^\/t\/[^/]+/) || [""])[0];
    stream = new EventSource(`${tenant}/admin/live/`, { withCredentials: true });
    // Events may have been missed before a reconnect.
    stream.onopen = () => { if (wasOpen) scheduleRefresh(); wasOpen = true; };
    stream.onmessage = (event) => {
      if (isRelevant(JSON.parse(event.data))) scheduleRefresh();
    };
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!liveParts(document).length) return;
    open();
    setInterval(() => {
      if (document.hidden || (stream && stream.readyState === EventSource.OPEN)) return;
      scheduleRefresh();
      if (!stream || stream.readyState === EventSource.CLOSED) { close(); open(); }
    }, FALLBACK_INTERVAL);
    refreshOften();
    // Browsers limit the connections to one host. Hidden pages therefore close their stream.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close();
      else { open(); scheduleRefresh(); }
    });
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", open);
  });
})();
