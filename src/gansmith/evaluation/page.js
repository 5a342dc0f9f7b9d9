"use strict";
// Grids over time: a slider, and a button that plays them.
for (const player of document.querySelectorAll(".player")) {
  const slider = player.querySelector("input"), button = player.querySelector("button");
  if (!slider) continue;
  const frames = [...player.querySelectorAll("img")], seen = player.querySelector(".seen");
  let timer = null;
  const show = (index) => {
    frames.forEach((frame, number) => { frame.hidden = number !== index; });
    slider.value = index;
    seen.textContent = frames[index].dataset.caption;
    slider.setAttribute("aria-valuetext", frames[index].dataset.caption);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "▶";
    button.setAttribute("aria-label", "Play");
  };
  const play = () => {
    if (Number(slider.value) === frames.length - 1) show(0);
    timer = setInterval(() => {
      show(Number(slider.value) + 1);
      if (Number(slider.value) === frames.length - 1) stop();
    }, 350);
    button.textContent = "❚❚";
    button.setAttribute("aria-label", "Pause");
  };
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  button.addEventListener("click", () => (timer === null ? play() : stop()));
}

// Charts: the values under the pointer, read back from the drawn points, in the legend.
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg[data-x]");
  if (!svg) continue;
  const across = svg.dataset.x.split(" ").map(Number), up = svg.dataset.y.split(" ").map(Number);
  const isLog = svg.dataset.log === "1", cursor = svg.querySelector(".cursor"), at = chart.querySelector(".at");
  const outputs = [...chart.querySelectorAll("output")], newest = outputs.map((output) => output.textContent);
  const lines = [...svg.querySelectorAll("path.line")].map((path) =>
    path.getAttribute("d").slice(1).split(/[ML]/).map((point) => point.split(" ").map(Number)));
  const value = (pixel, [low, high, start, stop], log) => {
    const share = (pixel - start) / (stop - start);
    return log ? low * (high / low) ** share : low + share * (high - low);
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const nearest = lines.map((points) => points.reduce((best, point) =>
      Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best));
    nearest.forEach((point, index) => { outputs[index].textContent = short.format(value(point[1], up, isLog)); });
    at.textContent = `at ${whole.format(value(nearest[0][0], across, false))}`;
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, nearest[0][0]);
    cursor.style.visibility = "visible";
  });
  svg.addEventListener("pointerleave", () => {
    outputs.forEach((output, index) => { output.textContent = newest[index]; });
    at.textContent = "";
    cursor.style.visibility = "hidden";
  });
}

// On paper nothing is folded away but the settings, which are long.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("section:not(#recipe) details:not([open])")) {
    details.open = true;
    details.dataset.folded = "";
  }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-folded]")) {
    details.open = false;
    delete details.dataset.folded;
  }
});
