// Open pages change by themselves: a stream says that something has changed, and the page
// then fetches itself and puts its living parts in place. Without the stream it looks
// now and then.
(() => {
  const SOONEST = 1000, NOW_AND_THEN = 30000;
  const lists = ["/devices/device/", "/monitoring/alert/"];
  const isList = lists.some((end) => location.pathname.endsWith(end));
  const parts = (page) =>
    page.querySelectorAll(isList ? "[data-live], #changelist-form" : "[data-live]");
  let stream = null, timer = null, next = 0, looking = false, again = false, opened = false;

  const isBusy = (part) =>
    part.contains(document.activeElement) || part.querySelector("input:checked");

  // The list's own script knows the boxes that were there when the page was loaded.
  function beginActions() {
    const parent = document.querySelector(".result-list-wrapper");
    const boxes = document.querySelectorAll("tr input.action-select");
    if (parent && boxes.length && window.Actions) Actions(boxes, { parent });
  }

  function put(page) {
    for (const part of parts(document)) {
      const other = page.getElementById(part.id);
      if (!other || isBusy(part) || other.innerHTML === part.innerHTML) continue;
      part.replaceWith(document.importNode(other, true));
      if (part.id === "changelist-form") beginActions();
    }
  }

  async function look() {
    timer = null;
    looking = true;
    again = false;
    const begun = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Requested-With": "live" } });
      if (answer.ok && !answer.redirected) {
        put(new DOMParser().parseFromString(await answer.text(), "text/html"));
      }
    } catch { /* the next hint, or the next half minute */ }
    looking = false;
    // A page that takes long is not asked for so often.
    next = Date.now() + Math.max(SOONEST, 3 * (Date.now() - begun));
    if (again) soon();
  }

  function soon() {
    if (looking) again = true;
    else if (timer === null) timer = setTimeout(look, Math.max(50, next - Date.now()));
  }

  function matters(hint) {
    const one = location.pathname.match(/\/devices\/device\/([0-9a-f-]{36})\//);
    return !one || hint.devices === null || hint.devices.includes(one[1]);
  }

  function open() {
    if (stream || document.hidden) return;
    stream = new EventSource("/admin/live/", { withCredentials: true });
    // It had ended, and what happened meanwhile was told to nobody.
    stream.onopen = () => { if (opened) soon(); opened = true; };
    stream.onmessage = (event) => {
      if (matters(JSON.parse(event.data))) soon();
    };
  }

  function close() {
    if (stream) stream.close();
    stream = null;
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!parts(document).length) return;
    open();
    setInterval(() => {
      if (document.hidden || (stream && stream.readyState === EventSource.OPEN)) return;
      soon();
      if (!stream || stream.readyState === EventSource.CLOSED) { close(); open(); }
    }, NOW_AND_THEN);
    // A browser has few connections to one host: pages in the background give theirs up.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) close();
      else { open(); soon(); }
    });
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", open);
  });
})();
