"use strict";
// The larger view of one output, with a slider between it and its source.
const compare = (() => {
  const byId = (id) => document.getElementById(id);
  const pad = (index) => `${String(index).padStart(5, "0")}.png`;
  const shown = (score) => {
    if (score === null) return "n/a";
    return Math.abs(score) < 1000 ? score.toPrecision(4) : score.toFixed(0);
  };
  let open = null; // {data, run, places, index, redraw}

  const cut = () => {
    const share = Number(byId("cut").value);
    byId("stage").style.setProperty("--cut", `${share}%`);
    byId("cut").setAttribute("aria-valuetext", `${share} % source, ${100 - share} % output`);
  };

  const draw = () => {
    const { data, run, places, index } = open;
    const place = places[index];
    const image = data.sampleImages[place];
    const prompt = data.prompts[data.samplePrompts[place]];
    const { label, folder, page } = data.runs[run];
    byId("view-title").textContent = `${prompt}, ${data.images[image]}`;
    byId("view-run").textContent = `Scores of ${label}`;
    byId("stage").classList.toggle("pixels", data.side < 256);
    const output = byId("stage-output");
    output.src = `../${folder}/${pad(place)}`;
    output.alt = `${data.images[image]} as ${prompt}, by ${label}`;
    const source = byId("stage-source");
    source.hidden = data.sources === null;
    if (data.sources !== null) {
      source.src = `../${data.sources}/${pad(image)}`;
      source.alt = `${data.images[image]}, source`;
    }
    for (const picture of [output, source]) {
      picture.width = data.side;
      picture.height = data.side;
    }
    byId("original").href = output.src;
    byId("runpage").href = `../${page}`;
    byId("runpage").textContent = `About ${label}`;
    byId("view-scores").replaceChildren(
      ...data.metrics.map((metric, number) => {
        const row = document.createElement("tr");
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = `${metric.name} ${metric.higher ? "↑" : "↓"}`;
        row.append(head);
        row.insertCell().textContent = shown(galleryOrder.scoreOf(data, run, number, place));
        return row;
      }),
    );
    byId("before").disabled = step(-1) === null;
    byId("after").disabled = step(1) === null;
  };

  // the next sample that this run has an output of
  const step = (direction) => {
    const { data, run, places, index } = open;
    for (let next = index + direction; next >= 0 && next < places.length; next += direction) {
      if (!data.runs[run].problems[places[next]]) return next;
    }
    return null;
  };
  const turn = (direction) => {
    open.index = step(direction) ?? open.index;
    draw();
  };

  const show = (data, run, places, index) => {
    open = { data, run, places, index };
    byId("cut").value = data.sources === null ? 0 : 50;
    byId("cut").disabled = data.sources === null;
    cut();
    draw();
    byId("view").showModal();
    byId("cut").focus();
  };

  byId("cut").addEventListener("input", cut);
  byId("close").addEventListener("click", () => byId("view").close());
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  byId("view").addEventListener("click", (event) => {
    if (event.target === byId("view")) byId("view").close(); // beside the box
  });
  const drag = (event) => {
    if (byId("cut").disabled || (event.buttons & 1) === 0) return;
    const box = byId("stage").getBoundingClientRect();
    byId("cut").value = Math.round((100 * (event.clientX - box.left)) / box.width);
    cut();
  };
  byId("stage").addEventListener("pointerdown", drag);
  byId("stage").addEventListener("pointermove", drag);
  byId("stage").addEventListener("dragstart", (event) => event.preventDefault());

  return { show, pad, shown };
})();
