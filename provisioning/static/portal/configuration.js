"use strict";
/* Configuration editor: form fields generated from the JSON Schema, and a JSON text area. */
(() => {
  const PREVIEW_DELAY = 350; // ms between the last input and the preview request
  const readJson = (id) => JSON.parse(document.getElementById(id).textContent);
  let fieldCount = 0;

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

  const humanize = (text) => String(text).replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
  const types = (schema) => [].concat(schema.type || []).filter((type) => type !== "null");
  const withLabel = (text, control) => {
    control.id = control.id || `field-${++fieldCount}`;
    return make("span", { class: "portal-field" }, make("label", { for: control.id }, text), control);
  };

  function select(options, value, change, name) {
    const element = make("select", { class: "portal-select", "aria-label": name, onchange: () => change(element.value) });
    for (const [key, text] of options) element.append(make("option", { value: key, selected: key === value }, text));
    return element;
  }

  function input(type, value, change, attributes) {
    const element = make("input", { type, class: "portal-select", ...attributes });
    element.value = value ?? "";
    element.addEventListener("input", () => change(element.value));
    return element;
  }

  /* Return the initial value of a field. */
  function initialValue(schema) {
    if ("default" in schema) return structuredClone(schema.default);
    if (schema.enum) return schema.enum.find((option) => option !== null);
    switch (types(schema)[0]) {
      case "integer": return schema.minimum ?? 0;
      case "array": return schema.items.enum ? [schema.items.enum[0]] : [];
      case "object": {
        const value = {};
        const properties = Object.entries(schema.properties || {});
        const required = schema.maxProperties === 1 ? properties.slice(0, 1) : properties;
        for (const [name, inner] of required) value[name] = initialValue(inner);
        return value;
      }
      default: return schema.format === "clock-time" ? "08:00" : "";
    }
  }

  /* Return a control for a value of a schema. `change` is called with each new value. */
  function control(schema, value, change, name) {
    if (schema.enum) {
      const options = schema.enum.filter((option) => option !== null).map((option) => [option, humanize(option)]);
      return select(options, value, change, name);
    }
    switch (types(schema)[0]) {
      case "integer":
        return input("number", value, (text) => change(text === "" ? "" : Number(text)),
          { min: schema.minimum, max: schema.maximum, step: 1, "aria-label": name });
      case "array": return schema.items.enum ? checkboxes(schema, value, change, name) : list(schema, value, change, name);
      case "object": return schema.properties ? object(schema, value, change, name) : freeKeys(schema, value, change);
      default: return text(schema, value, change, name);
    }
  }

  function text(schema, value, change, name) {
    const attributes = { "aria-label": name, maxlength: schema.maxLength ?? null };
    if (schema.format === "clock-time") return input("time", value, change, attributes);
    if (schema.format === "time-zone") attributes.list = "time-zones";
    return input("text", value, change, { ...attributes, spellcheck: "false", autocomplete: "off" });
  }

  function checkboxes(schema, value, change, name) {
    const group = make("span", { class: "portal-checks", role: "group", "aria-label": name });
    const chosen = new Set(Array.isArray(value) ? value : []);
    for (const option of schema.items.enum) {
      const checkbox = make("input", { type: "checkbox", checked: chosen.has(option), onchange: () => {
        if (checkbox.checked) chosen.add(option); else chosen.delete(option);
        change(schema.items.enum.filter((item) => chosen.has(item)));
      } });
      group.append(make("label", { title: humanize(option) }, checkbox, humanize(option).slice(0, 3)));
    }
    return group;
  }

  function object(schema, value, change, name) {
    const current = { ...(value && typeof value === "object" ? value : initialValue(schema)) };
    const group = make("span", { class: "portal-group", role: "group", "aria-label": name });
    const set = (key, item) => { current[key] = item; change({ ...current }); };
    if (schema.maxProperties === 1) {
      const names = Object.keys(schema.properties);
      const draw = (key) => group.replaceChildren(
        select(names.map((option) => [option, schema.properties[option].title]), key, (other) => {
          for (const option of names) delete current[option];
          set(other, initialValue(schema.properties[other]));
          draw(other);
        }, `${name}: type`),
        control(schema.properties[key], current[key], (item) => set(key, item), schema.properties[key].title));
      draw(names.find((option) => option in current) || names[0]);
      return group;
    }
    for (const [key, inner] of Object.entries(schema.properties)) {
      const element = control(inner, current[key], (item) => set(key, item), inner.title);
      group.append(element.matches("input, select") ? withLabel(inner.title, element) : element);
    }
    return group;
  }

  function list(schema, value, change, name) {
    const items = Array.isArray(value) ? [...value] : [];
    const container = make("div", { class: "portal-list", role: "group", "aria-label": name });
    const draw = () => {
      container.replaceChildren(...items.map((item, index) => make("div", { class: "portal-entry" },
        control(schema.items, item, (next) => { items[index] = next; change([...items]); }, `${name} ${index + 1}`),
        make("button", { type: "button", class: "portal-button quiet", "aria-label": `Remove ${index + 1}`,
          onclick: () => { items.splice(index, 1); change([...items]); draw(); } }, "Remove"))),
        make("button", { type: "button", class: "portal-button quiet", onclick: () => {
          items.push(nextEntry(schema, items));
          change([...items]);
          draw();
        } }, "Add entry"));
    };
    draw();
    return container;
  }

  /* Return a new entry that avoids overlaps with the existing ones where possible. */
  function nextEntry(schema, items) {
    const last = structuredClone(items.at(-1) ?? schema.default?.[0] ?? initialValue(schema.items));
    const days = schema.items.properties?.days?.items.enum, usedDays = new Set(items.flatMap((item) => item.days ?? []));
    const unusedDays = (days ?? []).filter((day) => !usedDays.has(day));
    if (!items.length || !days) return last;
    return unusedDays.length ? { ...last, days: unusedDays } : { ...last, on: last.off, off: last.on };
  }

  function freeKeys(schema, value, change) {
    const entries = Object.entries(value && typeof value === "object" ? value : {}).map(([key, item]) => [key, JSON.stringify(item)]);
    const container = make("div", { class: "portal-list" });
    /* Keep 2.10 as a string. As a number, it would be shown as 2.1. */
    const parse = (typed) => {
      try {
        const parsed = JSON.parse(typed);
        return typeof parsed === "number" && String(parsed) !== typed.trim() ? typed : parsed;
      } catch { return typed; }
    };
    const notify = () => change(Object.fromEntries(entries.filter(([key]) => key).map(([key, typed]) => [key, parse(typed)])));
    const draw = () => container.replaceChildren(...entries.map((entry, index) => make("div", { class: "portal-entry" },
      input("text", entry[0], (typed) => { entry[0] = typed; notify(); }, { "aria-label": "Key name", placeholder: "name", spellcheck: "false" }),
      input("text", entry[1], (typed) => { entry[1] = typed; notify(); }, { "aria-label": `Value of ${entry[0] || "the key"}`, placeholder: "text or JSON", spellcheck: "false" }),
      make("button", { type: "button", class: "portal-button quiet", "aria-label": `Remove ${entry[0]}`,
        onclick: () => { entries.splice(index, 1); notify(); draw(); } }, "Remove"))),
      make("button", { type: "button", class: "portal-button quiet", onclick: () => { entries.push(["", ""]); draw(); } }, "Add key"));
    draw();
    return container;
  }

  function start() {
    const form = document.getElementById("configuration-editor");
    if (!form) return;
    const schema = readJson("configuration-schema"), inherited = readJson("configuration-inherited");
    const raw = form.elements.document, fields = document.getElementById("configuration-fields");
    const rawPanel = document.getElementById("configuration-raw"), preview = document.getElementById("configuration-preview");
    const tabs = { fields: document.getElementById("tab-fields"), raw: document.getElementById("tab-raw") };
    const saved = raw.value;
    let value = {}, timer = null, latestRequest = 0, submitted = false;

    document.body.append(make("datalist", { id: "time-zones" }, ...readJson("configuration-time-zones").map((zone) => make("option", { value: zone }))));

    /* Return the document, or null if the text is not a JSON object. */
    function parsedDocument() {
      try {
        const parsed = JSON.parse(raw.value);
        return parsed && typeof parsed === "object" && !Array.isArray(parsed) ? parsed : null;
      } catch { return null; }
    }

    function row(key) {
      const inner = schema.properties[key], name = inner.title;
      const valueCell = make("div", { class: "portal-control" });
      const state = () => !(key in value) ? "inherit" : value[key] === null ? "device" : "set";
      const fault = make("p", { class: "portal-fault", "data-fault": key });
      const set = (next) => { value[key] = next; write(); };
      const show = () => {
        const below = inherited[key];
        const hint = inner.properties || !below || types(inner)[0] !== "object" ? [] : [make("p", { class: "portal-empty" }, `Also inherited: ${below.text}`)];
        valueCell.replaceChildren(...state() === "set" ? [control(inner, value[key], set, name), ...hint]
          : [make("span", { class: "portal-empty" }, state() === "device" ? "The device uses its own value."
            : below ? `${below.text}${below.source ? ` (${below.source})` : ""}` : "No layer sets this key.")]);
      };
      const isReplaced = inner.properties || types(inner)[0] !== "object";
      const choice = select([["inherit", Object.keys(inherited).length ? "Inherited" : "Not set"], ["set", "Set here"], ["device", "Left to the device"]], state(), (next) => {
        if (next === "inherit") delete value[key];
        else value[key] = next === "device" ? null : structuredClone((isReplaced ? inherited[key]?.value : undefined) ?? initialValue(inner));
        write();
        show();
      }, `${name}: source`);
      show();
      return make("div", { class: "portal-line", "data-key": key },
        make("div", {}, make("b", {}, name), make("p", { class: "portal-empty" }, inner.description || "")), choice,
        make("div", {}, valueCell, fault));
    }

    function draw() { fields.replaceChildren(...Object.keys(schema.properties).map(row)); showFaults(); }

    /* Write the document to the text area, with the keys in the order of the schema. */
    function write() {
      const ordered = {};
      for (const key of Object.keys(schema.properties)) if (key in value) ordered[key] = value[key];
      raw.value = JSON.stringify({ ...ordered, ...value }, null, 2);
      schedulePreview();
    }

    function showTab(selected) {
      if (selected === "fields") {
        const parsed = parsedDocument();
        document.getElementById("raw-fault").textContent = parsed === null ? "The document is not a JSON object. Correct the document to edit it as fields." : "";
        if (parsed === null) { raw.focus(); return; }
        value = parsed;
        draw();
      }
      fields.hidden = selected !== "fields";
      rawPanel.hidden = selected === "fields";
      for (const [name, tab] of Object.entries(tabs)) {
        tab.setAttribute("aria-selected", String(name === selected));
        tab.tabIndex = name === selected ? 0 : -1;
      }
    }

    /* Repeat the errors of the preview beside their fields. */
    function showFaults() {
      for (const element of fields.querySelectorAll("[data-fault]")) {
        const lines = [...preview.querySelectorAll("[data-path]")].filter((line) => line.dataset.path.split(".")[0] === element.dataset.fault);
        const innerPath = (line) => line.dataset.path.split(".").slice(1).join(".");
        element.replaceChildren(...lines.map((line) => make("span", {}, `${innerPath(line)} ${line.dataset.sentence}`.trim())));
        element.parentElement.parentElement.classList.toggle("at-fault", lines.length > 0);
      }
    }

    async function loadPreview() {
      const request = ++latestRequest;
      preview.setAttribute("aria-busy", "true");
      try {
        const response = await fetch(form.dataset.preview, { method: "POST", body: new FormData(form), headers: { "X-Requested-With": "preview" } });
        if (!response.ok || response.redirected) throw new Error(response.statusText);
        const text = await response.text();
        if (request !== latestRequest) return; // a newer request was sent
        preview.innerHTML = text;
        showFaults();
      } catch {
        if (request === latestRequest) preview.replaceChildren(make("p", { class: "portal-note" }, "The preview could not be loaded. You can still save. Saving validates the document."));
      }
      preview.removeAttribute("aria-busy");
    }

    function schedulePreview() { clearTimeout(timer); timer = setTimeout(loadPreview, PREVIEW_DELAY); }

    raw.addEventListener("input", schedulePreview);
    for (const [name, tab] of Object.entries(tabs)) {
      tab.addEventListener("click", () => showTab(name));
      tab.addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        const other = name === "fields" ? "raw" : "fields";
        showTab(other);
        tabs[other].focus();
      });
    }
    form.addEventListener("submit", () => { submitted = true; });
    window.addEventListener("beforeunload", (event) => { if (!submitted && raw.value !== saved) event.preventDefault(); });
    form.querySelector("[role=tablist]").hidden = false;
    showTab(parsedDocument() === null ? "raw" : "fields");
    showFaults();
  }

  document.addEventListener("DOMContentLoaded", start);
})();
