// Draws the figures of the page in its colours, and lets the legend choose which clusters are shown.
"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)").matches; // a finger that drags scrolls the page
  const hidden = new Set();
  const dashes = ["solid", "dash", "dot", "dashdot"]; // for those who do not tell the colours apart

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const legend = () => [...document.querySelectorAll("button[data-cluster]")];

  function coloured(trace) {
    const { colour, cluster, size, scale } = trace.meta;
    const themed = { ...trace, showlegend: cluster === undefined && trace.showlegend !== false };
    if (scale) return { ...themed, colorscale: [[0, css("--surface")], [1, css("--accent")]], xgap: 1, ygap: 1 };
    const paint = colour === undefined ? css("--ink") : css(`--c${colour}`);
    themed.marker = { color: paint, size: 6, ...trace.marker };
    themed.line = { color: paint, width: 2, dash: dashes[(colour ?? 0) % dashes.length] };
    if (size) themed.marker = { ...themed.marker, size: 6, opacity: 0.85, line: { width: 0.5, color: css("--surface") } };
    if (trace.mode === "text") themed.textfont = { size: 17, weight: 700, color: css("--ink") };
    themed.visible = !hidden.has(cluster);
    return themed;
  }

  function layout(given) {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
    return {
      showlegend: false,
      ...given,
      xaxis: { ...axis, ...given.xaxis },
      yaxis: { ...axis, ...given.yaxis },
      autosize: true,
      dragmode: coarse ? false : "zoom",
      hovermode: "closest",
      hoverlabel: { bgcolor: css("--surface"), bordercolor: css("--soft"), font: { color: css("--ink") }, align: "left" },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: css("--soft") },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
      margin: { l: 40, r: 8, t: 8, b: 36 },
      paper_bgcolor: "transparent",
      plot_bgcolor: "transparent",
    };
  }

  function draw() {
    for (const [id, figure] of Object.entries(figures)) {
      const config = { responsive: true, displayModeBar: false, doubleClick: "reset" };
      Plotly.react(id, figure.data.map(coloured), layout(figure.layout), config);
    }
  }

  function show(chosen) {
    hidden.clear();
    for (const button of legend()) {
      const cluster = Number(button.dataset.cluster);
      button.setAttribute("aria-pressed", String(chosen(cluster)));
      if (!chosen(cluster)) hidden.add(cluster);
    }
    const visible = figures.embedding.data.map((trace) => !hidden.has(trace.meta.cluster));
    Plotly.restyle("embedding", { visible });
  }

  for (const button of legend()) {
    const own = Number(button.dataset.cluster);
    button.addEventListener("click", () => {
      const before = new Set(hidden);
      show((cluster) => (cluster === own ? before.has(own) : !before.has(cluster)));
    });
  }
  for (const button of document.querySelectorAll("button[data-all]")) {
    button.addEventListener("click", () => show(() => button.dataset.all === "true"));
  }
  for (const button of document.querySelectorAll("button[data-only]")) {
    button.addEventListener("click", () => {
      show((cluster) => cluster === Number(button.dataset.only));
      document.getElementById("plane").scrollIntoView();
    });
  }
  scheme.addEventListener("change", draw);
  draw();
})();
