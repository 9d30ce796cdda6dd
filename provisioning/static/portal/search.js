// The search of the portal: a dialog that Ctrl+K, or the button in the header, opens.
document.addEventListener("DOMContentLoaded", () => {
  const header = document.getElementById("header-inner");
  if (!header || !document.getElementById("nav-sidebar")) return;
  const tenant = (location.pathname.match(/^\/t\/[^/]+/) || [""])[0];
  const DELAY = 200;  // milliseconds after the last key
  const element = (name, attributes = {}, text = "") => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };

  const button = element("button", { type: "button", class: "portal-search-button", "aria-keyshortcuts": "Control+K" });
  button.append(element("span", { class: "material-symbols-outlined", "aria-hidden": "true" }, "search"),
    element("span", {}, "Search"), element("kbd", {}, "Ctrl K"));
  header.append(button);

  const dialog = element("dialog", { class: "portal-search", "aria-label": "Search Ctrl K" });
  const input = element("input", {
    type: "search", role: "combobox", "aria-expanded": "true", "aria-controls": "portal-hits",
    "aria-label": "Search", autocomplete: "off", spellcheck: "false",
    placeholder: "Name, serial number, MAC address, IP address, site, tag, certificate …",
  });
  const list = element("div", { id: "portal-hits", role: "listbox", "aria-label": "Results" });
  const status = element("p", { role: "status", class: "portal-empty" });
  dialog.append(input, list, status);
  document.body.append(dialog);

  let timer = null, request = null, options = [], chosen = -1;

  function choose(number) {
    if (options[chosen]) options[chosen].setAttribute("aria-selected", "false");
    chosen = options.length ? (number + options.length) % options.length : -1;
    const option = options[chosen];
    if (!option) { input.removeAttribute("aria-activedescendant"); return; }
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
  }

  // All texts come from devices and members: they are set as text, never as HTML.
  function show({ groups, note }) {
    list.replaceChildren();
    options = [];
    for (const [place, group] of groups.entries()) {
      const box = element("div", { role: "group", "aria-labelledby": `portal-group-${place}` });
      box.append(element("div", { id: `portal-group-${place}`, class: "portal-group-title" }, group.title));
      const hits = group.more
        ? [...group.hits, { title: `All ${group.title.toLowerCase()} that match`, detail: "", url: group.more }]
        : group.hits;
      for (const hit of hits) {
        const option = element("a", {
          role: "option", id: `portal-hit-${options.length}`, href: tenant + hit.url.replace(/^\/t\/[^/]+/, ""),
          tabindex: "-1", "aria-selected": "false",
        });
        option.append(element("b", {}, hit.title), element("span", {}, hit.detail));
        options.push(option);
        box.append(option);
      }
      list.append(box);
    }
    const count = options.length;
    status.textContent = note || (count ? `${count} result${count === 1 ? "" : "s"}`
      : "Nothing was found. A part of a name is enough; of identifiers, enter the beginning.");
    choose(0);
  }

  async function search() {
    const text = input.value.trim();
    if (request) request.abort();
    if (text.length < 2) { show({ groups: [], note: "Enter at least two characters." }); return; }
    request = new AbortController();
    try {
      const response = await fetch(`${tenant}/admin/find/?q=${encodeURIComponent(text)}`, { signal: request.signal });
      if (!response.ok) throw new Error(response.status);
      show(await response.json());
    } catch (error) {
      if (error.name !== "AbortError") show({ groups: [], note: "The search does not answer. Try again." });
    }
  }

  function open() {
    if (dialog.open) return;
    dialog.showModal();
    input.select();
    if (!input.value) show({ groups: [], note: "Enter at least two characters." });
  }

  button.addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); open(); }
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, DELAY); });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") choose(chosen + 1);
    else if (event.key === "ArrowUp") choose(chosen - 1);
    else if (event.key === "Enter" && options[chosen]) options[chosen].click();
    else return;
    event.preventDefault();
  });
});
