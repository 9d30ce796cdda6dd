// Suggest the names of sites and tags while somebody types, however many there are.
document.addEventListener("DOMContentLoaded", () => {
  const KINDS = { site: "site", site_name: "site", parent_name: "site", tag: "tag", tag_name: "tag" };
  const DELAY = 150;  // milliseconds after the last key
  const tenant = (location.pathname.match(/^\/t\/[^/]+/) || [""])[0];
  for (const [name, kind] of Object.entries(KINDS)) {
    for (const input of document.querySelectorAll(`input[name="${name}"]:not([type="hidden"])`)) {
      const list = document.createElement("datalist");
      list.id = `suggest-${name}-${Math.random().toString(36).slice(2)}`;
      input.setAttribute("list", list.id);
      input.setAttribute("autocomplete", "off");
      input.after(list);
      let timer = null;
      const suggest = async () => {
        const query = `kind=${kind}&q=${encodeURIComponent(input.value.trim())}`;
        const response = await fetch(`${tenant}/admin/suggest/?${query}`);
        if (!response.ok) return;
        list.replaceChildren(...(await response.json()).names.map((text) => {
          const option = document.createElement("option");
          option.value = text;
          return option;
        }));
      };
      const later = () => { clearTimeout(timer); timer = setTimeout(() => suggest().catch(() => {}), DELAY); };
      input.addEventListener("input", later);
      input.addEventListener("focus", later, { once: true });
    }
  }
});
