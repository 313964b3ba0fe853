"use strict";
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colors = () => {
    const style = getComputedStyle(root);
    const [ink, card] = ["--ink", "--card"].map((name) => style.getPropertyValue(name).trim());
    return { "font.color": ink, "hoverlabel.bgcolor": card, "hoverlabel.bordercolor": ink, "hoverlabel.font.color": ink };
  };
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const plots = [...document.querySelectorAll(".plot")];
  const family = getComputedStyle(document.body).fontFamily;
  const drawn = plots.map(async (div) => {
    const figure = JSON.parse(document.getElementById(`${div.id}-data`).textContent);
    figure.layout.font = { family, size: 12 };
    await Plotly.newPlot(div, figure.data, figure.layout, config);
    await Plotly.relayout(div, colors());
  });
  dark.addEventListener("change", () => plots.forEach((div) => Plotly.relayout(div, colors())));
  for (const buttons of document.querySelectorAll(".switch")) {
    buttons.addEventListener("click", (event) => {
      const chosen = [...buttons.children].indexOf(event.target);
      if (chosen < 0) return;
      [...buttons.children].forEach((button, k) => button.setAttribute("aria-pressed", String(k === chosen)));
      const div = document.getElementById(buttons.dataset.plot);
      Plotly.restyle(div, { visible: div.data.map((_, k) => k === chosen) });
    });
  }
  Promise.all(drawn).then(() => { root.dataset.drawn = String(drawn.length); });
})();
