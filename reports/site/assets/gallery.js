"use strict";
// The gallery: a page of samples at a time, each with its source and the chosen runs' outputs.
(() => {
  const PAGE = 24; // samples
  const FIRST_RUNS = 6; // shown at the start
  const WIDTH = 144; // pixels of a picture, about
  const byId = (id) => document.getElementById(id);
  const data = GALLERY;
  const shown = new Set(data.runs.map((_, index) => index).slice(0, FIRST_RUNS));
  const side =
    data.side <= WIDTH ? Math.max(1, Math.floor(WIDTH / data.side)) * data.side : WIDTH + 32;
  let places = [];
  let page = 0;

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const picture = (path, alt) => {
    const image = element("img", data.side < 256 ? "pixels" : "");
    image.loading = "lazy";
    image.decoding = "async";
    image.width = side;
    image.height = side;
    image.alt = alt;
    image.src = `../${path}`;
    return image;
  };
  const source = (image, alt) => picture(`${data.sourceThumbs}/${compare.pad(image)}`, alt);

  const outputFigure = (run, place, index) => {
    const { label, thumbs, problems } = data.runs[run];
    const figure = element("figure");
    const image = data.sampleImages[place];
    const name = data.images[image];
    const prompt = data.prompts[data.samplePrompts[place]];
    if (problems[place]) {
      figure.append(element("div", "shot missing", problems[place]));
    } else {
      const button = element("button", "shot");
      button.type = "button";
      button.setAttribute("aria-haspopup", "dialog");
      if (data.sources !== null) button.append(source(image, ""));
      button.append(picture(`${thumbs}/${compare.pad(place)}`, `${name} as ${prompt}, by ${label}`));
      button.addEventListener("click", () => compare.show(data, run, places, index));
      figure.append(button);
    }
    const caption = element("figcaption", "", label);
    if (data.metrics.length > 0) {
      const metric = Number(byId("metric").value);
      const score = compare.shown(galleryOrder.scoreOf(data, run, metric, place));
      const line = element("small");
      line.append(element("span", "vh", `${data.metrics[metric].name} `), score);
      caption.append(line);
    }
    figure.append(caption);
    return figure;
  };

  const sample = (place, index) => {
    const item = element("li");
    item.dataset.place = place;
    const image = data.sampleImages[place];
    const heading = element("h3", "", data.prompts[data.samplePrompts[place]]);
    heading.append(element("small", "", data.images[image]));
    const strip = element("div", "strip");
    if (data.sources !== null) {
      const figure = element("figure");
      const frame = element("div", "shot");
      frame.append(source(image, `${data.images[image]}, source`));
      figure.append(frame, element("figcaption", "", "source"));
      strip.append(figure);
    }
    for (const run of [...shown].sort((a, b) => a - b)) {
      strip.append(outputFigure(run, place, index));
    }
    item.append(heading, strip);
    return item;
  };

  const draw = () => {
    const start = page * PAGE;
    const part = places.slice(start, start + PAGE);
    byId("samples").start = start + 1;
    byId("samples").replaceChildren(...part.map((place, index) => sample(place, start + index)));
    byId("count").textContent =
      places.length === 0
        ? "no sample fits"
        : `samples ${start + 1} to ${start + part.length} of ${places.length}`;
    for (const button of document.querySelectorAll("[data-turn]")) {
      const next = page + Number(button.dataset.turn);
      button.disabled = next < 0 || next * PAGE >= places.length;
    }
  };

  const update = () => {
    const order = byId("order").value;
    const ranked = order === "best" || order === "worst";
    byId("of").disabled = !ranked;
    places = galleryOrder.select(data, {
      prompt: byId("prompt").value === "" ? null : Number(byId("prompt").value),
      text: byId("text").value,
      order: order,
      run: Number(byId("of").value),
      metric: Number(byId("metric").value),
      shown: [...shown],
    });
    page = 0;
    draw();
  };

  const wipe = () => {
    const share = Number(byId("wipe").value);
    byId("samples").style.setProperty("--cut", `${share}%`);
    byId("wipe").setAttribute("aria-valuetext", `${share} % source`);
  };

  const runToggle = (run, index) => {
    const label = element("label");
    const box = element("input");
    box.type = "checkbox";
    box.checked = shown.has(index);
    box.addEventListener("change", () => {
      if (box.checked) shown.add(index);
      else shown.delete(index);
    });
    label.append(box, ` ${run.label}`);
    return label;
  };

  data.prompts.forEach((text, index) => byId("prompt").add(new Option(text, index)));
  data.metrics.forEach(({ name, higher, chosen }, index) =>
    byId("metric").add(new Option(`${name} ${higher ? "↑" : "↓"}`, index, chosen, chosen)),
  );
  data.runs.forEach(({ label }, index) => byId("of").add(new Option(label, index)));
  byId("runs").append(...data.runs.map(runToggle));
  byId("samples").style.setProperty("--side", `${side}px`);
  byId("wipe").closest("label").hidden = data.sources === null;
  byId("tools").addEventListener("input", (event) => {
    if (event.target === byId("wipe")) wipe();
    else update();
  });
  byId("tools").addEventListener("change", (event) => {
    if (event.target.type === "checkbox") update();
  });
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => {
      page += Number(button.dataset.turn);
      draw();
      byId("count").scrollIntoView({ block: "nearest" });
    });
  }
  byId("no-script").hidden = true;
  for (const part of document.querySelectorAll("#tools, .pager")) part.hidden = false;
  wipe();
  update();
})();
