// The map of sites: coastlines and borders from a bundled file, markers in clusters.
document.addEventListener("DOMContentLoaded", async () => {
  const element = document.getElementById("site-map");
  if (!element) return;
  const title = document.querySelector("#map-title span");
  const STATES = ["none", "online", "offline", "alerts"];  // the worst state of a cluster wins
  const ANTARCTICA = "010";  // ISO 3166; its outline surrounds the pole
  const RELOAD = 60000;  // milliseconds
  const isDark = () => document.documentElement.classList.contains("dark");
  const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

  const map = L.map(element, { worldCopyJump: true, minZoom: 1, maxZoom: 18, zoomSnap: 0.5 });
  map.attributionControl.setPrefix(false);
  map.setView([25, 10], 2);

  const polygons = ({ type, coordinates }) => type === "Polygon" ? [coordinates] : coordinates;

  // A border that crosses the 180th meridian goes on beyond it, not back around the world.
  function unwrap(ring) {
    for (let place = 1; place < ring.length; place += 1) {
      const jump = ring[place][0] - ring[place - 1][0];
      if (Math.abs(jump) > 180) ring[place] = [ring[place][0] - 360 * Math.sign(jump), ring[place][1]];
    }
  }

  async function drawWorld() {
    if (element.dataset.tiles) {
      L.tileLayer(element.dataset.tiles, { attribution: element.dataset.attribution }).addTo(map);
      return;
    }
    const world = await (await fetch(element.dataset.world)).json();
    const style = () => ({
      weight: 0.8, color: isDark() ? "#6b7280" : "#9ca3af",
      fillColor: isDark() ? "#374151" : "#f3f4f6", fillOpacity: 1, interactive: false,
    });
    const { features } = topojson.feature(world, world.objects.countries);
    const shown = features.filter((country) => country.id !== ANTARCTICA);
    shown.forEach((country) => polygons(country.geometry).forEach((rings) => rings.forEach(unwrap)));
    // Wide screens show the same countries on both sides of the world.
    const layer = L.layerGroup([-360, 0, 360].map((degrees) => L.geoJSON(shown, {
      style, interactive: false, renderer: L.canvas({ padding: 0.5 }),
      coordsToLatLng: ([longitude, latitude]) => L.latLng(latitude, longitude + degrees),
    }))).addTo(map);
    new MutationObserver(() => layer.eachLayer((part) => part.setStyle(style())))
      .observe(document.documentElement, { attributeFilter: ["class"] });
    map.attributionControl.addAttribution("Natural Earth");
  }

  const state = ([, , , , online, offline, , alerts]) =>
    alerts ? "alerts" : offline ? "offline" : online ? "online" : "none";

  function describe([, name, , , online, offline, never, alerts]) {
    const parts = [`${online} online`, `${offline} offline`];
    if (never) parts.push(`${never} never connected`);
    if (alerts) parts.push(plural(alerts, "open alert"));
    return `${name}: ${parts.join(", ")}`;
  }

  function icon(kind, text, isCluster) {
    const size = isCluster ? 34 : 18;
    const html = document.createElement("span");
    html.className = `portal-pin ${kind}${isCluster ? " cluster" : ""}`;
    html.textContent = text;
    return L.divIcon({ html, className: "", iconSize: [size, size] });
  }

  // Names come from members: they are set as text, never as HTML.
  function popup(site) {
    const box = document.createElement("div");
    const link = document.createElement("a");
    link.href = `${element.dataset.site}${site[0]}/change/`;
    link.textContent = site[1];
    const text = document.createElement("p");
    text.textContent = describe(site).slice(site[1].length + 2);
    const devices = document.createElement("a");
    devices.href = `${element.dataset.devices}?site=${site[0]}`;
    devices.textContent = "Devices";
    box.append(link, text, devices);
    return box;
  }

  function clusterIcon(cluster) {
    const kinds = cluster.getAllChildMarkers().map((marker) => marker.options.state);
    const worst = STATES[Math.max(...kinds.map((kind) => STATES.indexOf(kind)))];
    return icon(worst, String(kinds.length), true);
  }

  const clusters = L.markerClusterGroup({
    iconCreateFunction: clusterIcon, showCoverageOnHover: false, chunkedLoading: true,
    spiderLegPolylineOptions: { weight: 1 },
  }).addTo(map);
  clusters.on("animationend", describeClusters);
  map.on("moveend zoomend layeradd", describeClusters);

  // Clusters are buttons for the keyboard and for screen readers as well.
  function describeClusters() {
    for (const pin of element.querySelectorAll(".leaflet-marker-icon")) {
      const cluster = pin.querySelector(".cluster");
      if (!cluster) continue;
      pin.setAttribute("role", "button");
      pin.setAttribute("tabindex", "0");
      pin.setAttribute("aria-label", `${cluster.textContent} sites`);
    }
  }

  let isPlaced = false, shown = "";
  async function load() {
    const response = await fetch(element.dataset.sites);
    if (!response.ok || response.redirected) throw new Error(response.status);
    const text = await response.text();
    if (text === shown || element.querySelector(".leaflet-popup")) return;
    shown = text;
    const { sites } = JSON.parse(text);
    clusters.clearLayers();
    clusters.addLayers(sites.map((site) => L.marker([site[2], site[3]], {
      icon: icon(state(site), "", false), state: state(site), alt: describe(site),
      title: describe(site), riseOnHover: true,
    }).bindPopup(() => popup(site))));
    const bad = sites.filter((site) => state(site) === "alerts").length;
    title.textContent = plural(sites.length, "site")
      + (bad ? `, ${plural(bad, "site")} with open alerts` : "");
    if (!isPlaced && sites.length) map.fitBounds(clusters.getBounds().pad(0.2), { maxZoom: 11 });
    isPlaced = true;
    describeClusters();
  }

  drawWorld().catch(() => {});
  const attempt = () => load().catch(() => { title.textContent = "The sites cannot be loaded."; });
  await attempt();
  setInterval(() => { if (!document.hidden) attempt(); }, RELOAD);
});
