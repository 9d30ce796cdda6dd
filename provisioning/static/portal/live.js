// Open pages change by themselves: a stream says that something has changed, and the page
// then fetches itself and puts its living parts in place. Without the stream it looks
// now and then.
(() => {
  const SOONEST = 1000, NOW_AND_THEN = 30000;
  const lists = ["/devices/device/", "/monitoring/alert/"];
  const isList = lists.some((end) => location.pathname.endsWith(end));
  const parts = (page) => [
    ...page.querySelectorAll("[data-live]"),
    ...(isList ? page.querySelectorAll("#result_list tbody") : []),
  ];
  const nameOf = (part, index) => part.id || `list-${index}`;
  let stream = null, timer = null, last = 0;

  const isBusy = (part) =>
    part.contains(document.activeElement) || part.querySelector("input:checked");

  async function look() {
    timer = null;
    last = Date.now();
    let answer;
    try {
      answer = await fetch(location.href, { headers: { "X-Requested-With": "live" } });
    } catch {
      return;
    }
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = new Map(parts(page).map((part, index) => [nameOf(part, index), part]));
    parts(document).forEach((part, index) => {
      const other = fresh.get(nameOf(part, index));
      if (other && !isBusy(part) && other.innerHTML !== part.innerHTML) {
        part.replaceWith(document.importNode(other, true));
      }
    });
  }

  function soon() {
    if (timer === null) {
      timer = setTimeout(look, Math.max(50, last + SOONEST - Date.now()));
    }
  }

  function matters(hint) {
    const one = location.pathname.match(/\/devices\/device\/([0-9a-f-]{36})\//);
    return !one || hint.devices === null || hint.devices.includes(one[1]);
  }

  function open() {
    if (stream || document.hidden) return;
    stream = new EventSource("/admin/live/");
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
      if (!document.hidden && !(stream && stream.readyState === EventSource.OPEN)) soon();
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
