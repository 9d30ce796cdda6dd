// Draw the charts of a page with Chart.js, which is part of the admin theme. The data of a chart
// is in the JSON script after its canvas. The values are also in a table below the chart.
(() => {
  const drawn = new Map(); // canvas -> Chart

  const color = (name, alpha = 1) => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return alpha === 1 ? value : `color-mix(in srgb, ${value} ${100 * alpha}%, transparent)`;
  };

  function datasets(data, isDark) {
    const line = color(isDark ? "--color-primary-400" : "--color-primary-600");
    const values = (index) => data.points.map((point) => ({ x: point[0], y: point[index] }));
    const base = { spanGaps: data.gap, borderWidth: 1.75, pointRadius: data.points.length === 1 ? 3 : 0, pointHitRadius: 8 };
    const sets = [{ ...base, label: "Value", data: values(1), borderColor: line, backgroundColor: line }];
    if (data.points.some((point) => point[3] !== null)) {
      const band = { ...base, borderWidth: 0, pointRadius: 0, backgroundColor: color("--color-primary-500", 0.15) };
      sets.push({ ...band, label: "Highest", data: values(3), fill: "+1" });
      sets.push({ ...band, label: "Lowest", data: values(2), fill: false });
    }
    if (data.against.length) {
      const bad = color("--portal-bad");
      const points = data.against.map(([x, y]) => ({ x, y }));
      sets.push({ ...base, label: "Failed", data: points, borderColor: bad, backgroundColor: bad });
    }
    return sets;
  }

  function options(data, isDark) {
    const text = color(isDark ? "--color-base-400" : "--color-base-500");
    const grid = color("--portal-line");
    const suffix = data.unit ? ` ${data.unit}` : "";
    const format = (language, parts) => new Intl.DateTimeFormat(language, { timeZone: data.zone, ...parts });
    const exact = format("sv-SE", { dateStyle: "short", timeStyle: "short" }); // 2026-12-01 14:05
    const isShort = data.end - data.start < 2.5 * 24 * 3600 * 1000;
    const short = isShort ? format("sv-SE", { timeStyle: "short" }) : format("en-GB", { day: "numeric", month: "short" });
    return {
      animation: false, responsive: true, maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      plugins: {
        legend: { display: false },
        tooltip: { callbacks: { title: ([item]) => exact.format(item.parsed.x), label: (item) => `${item.dataset.label}: ${item.formattedValue}${suffix}` } },
      },
      scales: {
        x: {
          type: "time", min: data.start, max: data.end, grid: { display: false },
          ticks: { color: text, maxRotation: 0, autoSkipPadding: 16, callback: (moment) => short.format(moment) },
        },
        y: {
          suggestedMin: data.floor ?? undefined, suggestedMax: data.ceiling ?? undefined,
          grid: { color: grid }, ticks: { color: text, maxTicksLimit: 6 },
        },
      },
    };
  }

  // Dragging across a chart opens the page with the period that was dragged over. The server then
  // draws it from more detailed data. The fields above the charts do the same for the keyboard.
  function letDrag(canvas) {
    if (!document.querySelector(".portal-period") || canvas.dataset.drags) return;
    canvas.dataset.drags = "1";
    const mark = document.createElement("i");
    mark.className = "portal-dragged";
    let begin = null;
    const place = (event) => event.clientX - canvas.getBoundingClientRect().left;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      begin = place(event);
      canvas.setPointerCapture(event.pointerId);
      canvas.parentElement.append(mark);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (begin === null) return;
      const [left, right] = [begin, place(event)].sort((a, b) => a - b);
      Object.assign(mark.style, { left: `${left}px`, width: `${right - left}px` });
    });
    canvas.addEventListener("pointercancel", () => { begin = null; mark.remove(); });
    canvas.addEventListener("pointerup", (event) => {
      mark.remove();
      if (begin === null) return;
      const ends = [begin, place(event)].sort((a, b) => a - b);
      begin = null;
      if (ends[1] - ends[0] < 10) return;
      const scale = drawn.get(canvas).scales.x;
      const [from, until] = ends.map((x) => new Date(scale.getValueForPixel(x)).toISOString());
      location.search = new URLSearchParams({ tab: "metrics", from, until });
    });
  }

  function draw(root) {
    for (const [canvas, chart] of drawn) {
      if (!canvas.isConnected) { chart.destroy(); drawn.delete(canvas); }
    }
    const isDark = document.documentElement.classList.contains("dark");
    for (const canvas of root.querySelectorAll("canvas[data-chart]")) {
      const data = JSON.parse(canvas.closest("figure").querySelector("script").textContent);
      drawn.get(canvas)?.destroy();
      drawn.set(canvas, new Chart(canvas, {
        type: "line",
        data: { datasets: datasets(data, isDark) },
        options: options(data, isDark),
      }));
      letDrag(canvas);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    draw(document);
    // live.js replaces parts of the page.
    document.addEventListener("portal:replaced", (event) => draw(event.target));
    new MutationObserver(() => draw(document)).observe(document.documentElement, { attributeFilter: ["class"] });
  });
})();
