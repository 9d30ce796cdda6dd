"use strict";
/* The configuration editor: fields made from the schema, and the JSON behind them. */
(() => {
  const WAIT = 350; // ms after the last key before the preview is asked for
  const said = (id) => JSON.parse(document.getElementById(id).textContent);
  let number = 0;

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  const words = (text) => String(text).replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
  const kinds = (schema) => [].concat(schema.type || []).filter((kind) => kind !== "null");
  const labelled = (text, control) => {
    control.id = control.id || `field-${++number}`;
    return make("span", { class: "portal-field" }, make("label", { for: control.id }, text), control);
  };

  function select(options, value, change, name) {
    const element = make("select", { class: "portal-select", "aria-label": name, onchange: () => change(element.value) });
    for (const [key, text] of options) element.append(make("option", { value: key, selected: key === value }, text));
    return element;
  }

  function input(kind, value, change, attributes) {
    const element = make("input", { type: kind, class: "portal-select", ...attributes });
    element.value = value ?? "";
    element.addEventListener("input", () => change(element.value));
    return element;
  }

  /* What a field begins with when it is set for the first time. */
  function first(schema) {
    if ("default" in schema) return structuredClone(schema.default);
    if (schema.enum) return schema.enum.find((one) => one !== null);
    switch (kinds(schema)[0]) {
      case "integer": return schema.minimum ?? 0;
      case "array": return schema.items.enum ? [schema.items.enum[0]] : [];
      case "object": {
        const begun = {};
        const properties = Object.entries(schema.properties || {});
        const wanted = schema.maxProperties === 1 ? properties.slice(0, 1) : properties;
        for (const [name, inner] of wanted) begun[name] = first(inner);
        return begun;
      }
      default: return schema.format === "time" ? "08:00" : "";
    }
  }

  /* A control for a value of a schema; `change` is called with each new value. */
  function control(schema, value, change, name) {
    if (schema.enum) {
      const options = schema.enum.filter((one) => one !== null).map((one) => [one, words(one)]);
      return select(options, value, change, name);
    }
    switch (kinds(schema)[0]) {
      case "integer":
        return input("number", value, (text) => change(text === "" ? "" : Number(text)),
          { min: schema.minimum, max: schema.maximum, step: 1, "aria-label": name });
      case "array": return schema.items.enum ? several(schema, value, change, name) : list(schema, value, change, name);
      case "object": return schema.properties ? object(schema, value, change, name) : open(schema, value, change);
      default: return text(schema, value, change, name);
    }
  }

  function text(schema, value, change, name) {
    const attributes = { "aria-label": name, maxlength: schema.maxLength ?? null };
    if (schema.format === "time") return input("time", value, change, attributes);
    if (schema.format === "time-zone") attributes.list = "time-zones";
    return input("text", value, change, { ...attributes, spellcheck: "false", autocomplete: "off" });
  }

  function several(schema, value, change, name) {
    const group = make("span", { class: "portal-checks", role: "group", "aria-label": name });
    const chosen = new Set(Array.isArray(value) ? value : []);
    for (const one of schema.items.enum) {
      const box = make("input", { type: "checkbox", checked: chosen.has(one), onchange: () => {
        if (box.checked) chosen.add(one); else chosen.delete(one);
        change(schema.items.enum.filter((item) => chosen.has(item)));
      } });
      group.append(make("label", { title: words(one) }, box, words(one).slice(0, 3)));
    }
    return group;
  }

  function object(schema, value, change, name) {
    const now = { ...(value && typeof value === "object" ? value : first(schema)) };
    const group = make("span", { class: "portal-group", role: "group", "aria-label": name });
    const put = (key, item) => { now[key] = item; change({ ...now }); };
    if (schema.maxProperties === 1) {
      const names = Object.keys(schema.properties);
      const draw = (key) => group.replaceChildren(
        select(names.map((one) => [one, schema.properties[one].title]), key, (other) => {
          for (const one of names) delete now[one];
          put(other, first(schema.properties[other]));
          draw(other);
        }, `${name}: what`),
        control(schema.properties[key], now[key], (item) => put(key, item), schema.properties[key].title));
      draw(names.find((one) => one in now) || names[0]);
      return group;
    }
    for (const [key, inner] of Object.entries(schema.properties)) {
      const made = control(inner, now[key], (item) => put(key, item), inner.title);
      group.append(made.matches("input, select") ? labelled(inner.title, made) : made);
    }
    return group;
  }

  function list(schema, value, change, name) {
    const items = Array.isArray(value) ? [...value] : [];
    const box = make("div", { class: "portal-list", role: "group", "aria-label": name });
    const draw = () => {
      box.replaceChildren(...items.map((item, index) => make("div", { class: "portal-entry" },
        control(schema.items, item, (next) => { items[index] = next; change([...items]); }, `${name} ${index + 1}`),
        make("button", { type: "button", class: "portal-button quiet", "aria-label": `Remove ${index + 1}`,
          onclick: () => { items.splice(index, 1); change([...items]); draw(); } }, "Remove"))),
        make("button", { type: "button", class: "portal-button quiet", onclick: () => {
          items.push(following(schema, items));
          change([...items]);
          draw();
        } }, "Add a time"));
    };
    draw();
    return box;
  }

  /* One more entry that does not overlap those that are there, as far as that can be. */
  function following(schema, items) {
    const last = structuredClone(items.at(-1) ?? schema.default?.[0] ?? first(schema.items));
    const days = schema.items.properties?.days?.items.enum, taken = new Set(items.flatMap((item) => item.days ?? []));
    const free = (days ?? []).filter((day) => !taken.has(day));
    if (!items.length || !days) return last;
    return free.length ? { ...last, days: free } : { ...last, on: last.off, off: last.on };
  }

  function open(schema, value, change) {
    const entries = Object.entries(value && typeof value === "object" ? value : {}).map(([key, item]) => [key, JSON.stringify(item)]);
    const box = make("div", { class: "portal-list" });
    /* 2.10 is a text: as a number it would not come back as it was typed. */
    const read = (typed) => {
      try {
        const found = JSON.parse(typed);
        return typeof found === "number" && String(found) !== typed.trim() ? typed : found;
      } catch { return typed; }
    };
    const tell = () => change(Object.fromEntries(entries.filter(([key]) => key).map(([key, typed]) => [key, read(typed)])));
    const draw = () => box.replaceChildren(...entries.map((entry, index) => make("div", { class: "portal-entry" },
      input("text", entry[0], (typed) => { entry[0] = typed; tell(); }, { "aria-label": "Name of the key", placeholder: "name", spellcheck: "false" }),
      input("text", entry[1], (typed) => { entry[1] = typed; tell(); }, { "aria-label": `Value of ${entry[0] || "the key"}`, placeholder: "value, or JSON", spellcheck: "false" }),
      make("button", { type: "button", class: "portal-button quiet", "aria-label": `Remove ${entry[0]}`,
        onclick: () => { entries.splice(index, 1); tell(); draw(); } }, "Remove"))),
      make("button", { type: "button", class: "portal-button quiet", onclick: () => { entries.push(["", ""]); draw(); } }, "Add a key"));
    draw();
    return box;
  }

  function begin() {
    const form = document.getElementById("configuration-editor");
    if (!form) return;
    const schema = said("configuration-schema"), inherited = said("configuration-inherited");
    const raw = form.elements.document, fields = document.getElementById("configuration-fields");
    const rawPanel = document.getElementById("configuration-raw"), preview = document.getElementById("configuration-preview");
    const tabs = { fields: document.getElementById("tab-fields"), raw: document.getElementById("tab-raw") };
    const saved = raw.value;
    let value = {}, timer = null, asked = 0, leaving = false;

    document.body.append(make("datalist", { id: "time-zones" }, ...said("configuration-time-zones").map((zone) => make("option", { value: zone }))));

    function parsed() {
      try {
        const found = JSON.parse(raw.value);
        return found && typeof found === "object" && !Array.isArray(found) ? found : null;
      } catch { return null; }
    }

    function row(key) {
      const inner = schema.properties[key], name = inner.title;
      const place = make("div", { class: "portal-control" });
      const state = () => !(key in value) ? "inherit" : value[key] === null ? "device" : "set";
      const fault = make("p", { class: "portal-fault", "data-fault": key });
      const set = (next) => { value[key] = next; write(); };
      const show = () => {
        const below = inherited[key];
        const hint = inner.properties || !below || kinds(inner)[0] !== "object" ? [] : [make("p", { class: "portal-empty" }, `Inherited beside them: ${below.text}`)];
        place.replaceChildren(...state() === "set" ? [control(inner, value[key], set, name), ...hint]
          : [make("span", { class: "portal-empty" }, state() === "device" ? "The device does as it likes."
            : below ? `${below.text}${below.source ? ` (${below.source})` : ""}` : "No layer says anything.")]);
      };
      const whole = inner.properties || kinds(inner)[0] !== "object";
      const choice = select([["inherit", Object.keys(inherited).length ? "Inherited" : "Not set"], ["set", "Set here"], ["device", "Left to the device"]], state(), (next) => {
        if (next === "inherit") delete value[key];
        else value[key] = next === "device" ? null : structuredClone((whole ? inherited[key]?.value : undefined) ?? first(inner));
        write();
        show();
      }, `${name}: who says it`);
      show();
      return make("div", { class: "portal-line", "data-key": key },
        make("div", {}, make("b", {}, name), make("p", { class: "portal-empty" }, inner.description || "")), choice,
        make("div", {}, place, fault));
    }

    function draw() { fields.replaceChildren(...Object.keys(schema.properties).map(row)); mark(); }

    /* The keys in the order of the schema, whichever was set first. */
    function write() {
      const ordered = {};
      for (const key of Object.keys(schema.properties)) if (key in value) ordered[key] = value[key];
      raw.value = JSON.stringify({ ...ordered, ...value }, null, 2);
      soon();
    }

    function show(which) {
      if (which === "fields") {
        const found = parsed();
        document.getElementById("raw-fault").textContent = found === null ? "This is no JSON object, so there are no fields of it." : "";
        if (found === null) { raw.focus(); return; }
        value = found;
        draw();
      }
      fields.hidden = which !== "fields";
      rawPanel.hidden = which === "fields";
      for (const [name, tab] of Object.entries(tabs)) {
        tab.setAttribute("aria-selected", String(name === which));
        tab.tabIndex = name === which ? 0 : -1;
      }
    }

    /* What is wrong stands beside its field as well. */
    function mark() {
      for (const place of fields.querySelectorAll("[data-fault]")) {
        const lines = [...preview.querySelectorAll("[data-path]")].filter((line) => line.dataset.path.split(".")[0] === place.dataset.fault);
        const within = (line) => line.dataset.path.split(".").slice(1).join(".");
        place.replaceChildren(...lines.map((line) => make("span", {}, `${within(line)} ${line.dataset.sentence}`.trim())));
        place.parentElement.parentElement.classList.toggle("at-fault", lines.length > 0);
      }
    }

    async function look() {
      const mine = ++asked;
      preview.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form), headers: { "X-Requested-With": "preview" } });
        if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
        const text = await answer.text();
        if (mine !== asked) return; // a newer one is on its way
        preview.innerHTML = text;
        mark();
      } catch {
        if (mine === asked) preview.replaceChildren(make("p", { class: "portal-note" }, "The preview does not answer now; what is saved is checked all the same."));
      }
      preview.removeAttribute("aria-busy");
    }

    function soon() { clearTimeout(timer); timer = setTimeout(look, WAIT); }

    raw.addEventListener("input", soon);
    for (const [name, tab] of Object.entries(tabs)) {
      tab.addEventListener("click", () => show(name));
      tab.addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        const other = name === "fields" ? "raw" : "fields";
        show(other);
        tabs[other].focus();
      });
    }
    form.addEventListener("submit", () => { leaving = true; });
    window.addEventListener("beforeunload", (event) => { if (!leaving && raw.value !== saved) event.preventDefault(); });
    form.querySelector("[role=tablist]").hidden = false;
    show(parsed() === null ? "raw" : "fields");
    mark();
  }

  document.addEventListener("DOMContentLoaded", begin);
})();
