"use strict";
// The page of `bowline capacity --html`: draws what `#data` holds. Texts are set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colours = () => dark.matches
    ? ["#60a5fa", "#f59e0b", "#34d399", "#f472b6", "#a78bfa", "#22d3ee", "#facc15", "#fb7185"]
    : ["#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#a16207", "#e11d48"];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const cores = (value) => value == null ? "–" : value === 0 ? "0" : value.toFixed(value < 0.1 ? 3 : 2);
  const bytes = (value) => {
    if (value == null) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (value >= 1024 && unit < 4) { value /= 1024; unit++; }
    return `${value.toFixed(unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1)} ${units[unit]}`;
  };
  const percent = (value) => value == null ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} %`;
  const span = (milliseconds) => {
    const minutes = milliseconds / 60000;
    if (minutes < 120) return `${Math.round(minutes)} min`;
    return minutes < 2880 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} d`;
  };
  const when = (milliseconds) => new Date(milliseconds).toLocaleString();

  document.getElementById("title").textContent = data.title;
  const { from, to, seen, samples } = data.window;
  document.getElementById("window").textContent = samples === 0 ? "Nothing was measured yet."
    : `${when(from)} to ${when(to)}: ${span(to - from)}, of which ${span(seen)} were seen in ${samples} samples`;
  if (data.notes.length) {
    const notes = document.getElementById("notes");
    notes.hidden = false;
    for (const note of data.notes) notes.append(element("p", note));
  }
  for (const [name, value] of data.tiles) {
    const tile = element("div", undefined, "tile");
    tile.append(element("b", value), element("span", name));
    document.getElementById("tiles").append(tile);
  }

  const table = document.getElementById("services");
  const columns = [
    ["Service", (s) => s.name], ["Containers", (s) => s.replicas],
    ["CPU, average", (s) => cores(s.average)], ["95 % of minutes", (s) => cores(s.usual)],
    ["at its start", (s) => cores(s.start)], ["Memory, most", (s) => bytes(s.most)], ["Limit", (s) => bytes(s.limit)],
    ["Held back", (s) => percent(s.throttled), (s) => s.throttled > 1],
    ["Restarts", (s) => s.restarts, (s) => s.restarts > 0], ["Killed for memory", (s) => s.oom_kills, (s) => s.oom_kills > 0],
  ];
  const head = element("tr");
  for (const [name] of columns) head.append(element("th", name));
  const top = element("thead");
  top.append(head);
  const body = element("tbody");
  const others = data.others.map((other) => ({ ...other, name: `${other.name} (of no service here)` }));
  for (const service of [...data.services, ...others]) {
    const row = element("tr");
    for (const [, text, warn] of columns) row.append(element("td", text(service), warn && warn(service) ? "warn" : ""));
    body.append(row);
  }
  table.append(top, body);

  // A line and a name for each deployment.
  const deployments = {
    hooks: {
      draw: (chart) => {
        const context = chart.ctx;
        context.save();
        context.strokeStyle = context.fillStyle = css("--soft");
        context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        context.textAlign = "left";
        context.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
        for (const { at, release } of data.deployments) {
          if (at < chart.scales.x.min || at > chart.scales.x.max) continue;
          const x = Math.round(chart.valToPos(at, "x", true));
          context.beginPath();
          context.moveTo(x, chart.bbox.top);
          context.lineTo(x, chart.bbox.top + chart.bbox.height);
          context.stroke();
          context.fillText(release, x + 4 * devicePixelRatio, chart.bbox.top + 12 * devicePixelRatio);
        }
        context.restore();
      },
    },
  };

  // Times of day, and the day below the first of each.
  const times = (_, ticks, __, ___, step) => {
    const two = (number) => String(number).padStart(2, "0");
    let before;
    return ticks.map((tick) => {
      const at = new Date(tick * 1000);
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      const clock = [at.getHours(), at.getMinutes(), ...(step < 60 ? [at.getSeconds()] : [])].map(two).join(":");
      const text = step >= 86400 ? day : day === before ? clock : `${clock}\n${day}`;
      before = day;
      return text;
    });
  };

  // Sizes are counted in powers of two.
  const powers = Array.from({ length: 44 }, (_, power) => 2 ** power);

  let charts = [];
  const place = document.getElementById("charts");
  const width = (card) => Math.max(card.clientWidth - 28, 120);
  const draw = () => {
    charts.forEach(({ chart }) => chart.destroy());
    charts = [];
    place.replaceChildren();
    if (data.times.length < 2) return;
    // All cards are there before any is measured: how wide one is depends on its neighbours.
    const cards = data.charts.map(({ title }) => {
      const card = element("div", undefined, "chart");
      card.append(element("h2", title));
      place.append(card);
      return card;
    });
    const palette = colours();
    const axis = { stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1 } };
    charts = data.charts.map(({ unit, lines, most }, place) => {
      const card = cards[place];
      const format = unit === "bytes" ? bytes : unit === "percent" ? percent : cores;
      const series = lines.map(({ name, dashed }, number) => ({
        label: name, stroke: palette[number % palette.length], width: 1.6, dash: dashed || number >= palette.length ? [6, 4] : undefined,
        value: (_, value) => format(value), spanGaps: false, points: { show: false },
      }));
      const chart = new uPlot({
        width: width(card), height: 240,
        cursor: { sync: { key: "time" } },
        scales: { y: { range: (_, low, high) => [0, Math.max(high, most || 0, 1e-9) * 1.05] } },
        axes: [{ ...axis, space: 76, values: times }, { ...axis, size: 74, incrs: unit === "bytes" ? powers : undefined, values: (_, ticks) => ticks.map(format) }],
        series: [{}, ...series],
        plugins: [deployments],
      }, [data.times, ...lines.map(({ values }) => values)], card);
      return { card, chart };
    });
  };
  draw();
  dark.addEventListener("change", draw);
  new ResizeObserver(() => {
    for (const { card, chart } of charts) {
      if (chart.width !== width(card)) chart.setSize({ width: width(card), height: 240 });
    }
  }).observe(place);
  document.documentElement.dataset.ready = "yes";
})();
