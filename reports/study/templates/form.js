"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const items = new Map(study.items.map((item) => [item.id, item]));
  const QUESTIONS = ["content", "style"];
  const STORE = "picture-study/" + study.study_id + "/" + study.form_version;
  const el = (id) => document.getElementById(id);
  let state = null;
  let shownSince = null; // when the picture on screen began to be looked at, in ms
  let moved = false; // whether the pointer has set a slider since it was pressed

  // --- chance: a seed of the rater's own, written into the answers ---

  function randomWord() {
    return crypto.getRandomValues(new Uint32Array(1))[0];
  }

  function randomName() {
    const letters = "abcdefghjkmnpqrstuvwxyz23456789";
    const bytes = crypto.getRandomValues(new Uint8Array(10));
    return "r-" + Array.from(bytes, (byte) => letters[byte % letters.length]).join("");
  }

  // mulberry32 (T. Ettinger, public domain): 32 bits of state are enough to shuffle a form
  function generator(seed) {
    let word = seed >>> 0;
    return () => {
      word = (word + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(word ^ (word >>> 15), word | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffled(names, random) {
    const order = names.slice();
    for (let last = order.length - 1; last > 0; last -= 1) {
      const other = Math.floor(random() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return order;
  }

  // A picture and its repeat should lie a quarter of the form apart; of 200 shuffles the first that
  // does so is taken, else the one that comes nearest.
  function drawOrder(seed) {
    const random = generator(seed);
    const names = study.items.map((item) => item.id);
    const wanted = names.length / 4;
    let best = null;
    let bestGap = -1;
    for (let attempt = 0; attempt < 200 && bestGap < wanted; attempt += 1) {
      const order = shuffled(names, random);
      const place = new Map(order.map((name, index) => [name, index]));
      let gap = names.length;
      for (const [first, second] of study.twice) {
        const [a, b] = [place.get(first), place.get(second)];
        gap = Math.min(gap, Math.abs(a - b));
        if (a > b) {
          [order[a], order[b]] = [first, second];
          [order[b], order[a]] = [first, second];
        }
      }
      if (gap > bestGap) {
        [best, bestGap] = [order, gap];
      }
    }
    return best;
  }

  // --- the state, and how it outlives a reload ---

  function newState(rater) {
    const seed = randomWord();
    const order = drawOrder(seed);
    const now = new Date().toISOString();
    const answers = {};
    for (const name of order) {
      answers[name] = { content: null, style: null, ms: 0 };
    }
    return { rater, seed, order, started: now, ended: now, at: 0, answers };
  }

  function store() {
    try {
      localStorage.setItem(STORE, JSON.stringify(state));
      return true;
    } catch {
      return false;
    }
  }

  function stored() {
    try {
      const found = JSON.parse(localStorage.getItem(STORE));
      const sound =
        found && typeof found.rater === "string" && Array.isArray(found.order) &&
        found.order.length === items.size && Number.isInteger(found.at) &&
        found.order.every((name) => items.has(name) && found.answers && found.answers[name]);
      return sound ? found : null;
    } catch {
      return null;
    }
  }

  function storageWorks() {
    try {
      localStorage.setItem(STORE + "/test", "1");
      localStorage.removeItem(STORE + "/test");
      return true;
    } catch {
      return false;
    }
  }

  function answered(name) {
    return QUESTIONS.filter((question) => state.answers[name][question] !== null).length;
  }

  function nAnswered() {
    return state.order.filter((name) => answered(name) === QUESTIONS.length).length;
  }

  // --- time: only while the picture is on screen ---

  function countTime() {
    if (shownSince !== null) {
      state.answers[state.order[state.at]].ms += Math.round(performance.now() - shownSince);
      shownSince = document.hidden ? null : performance.now();
    }
  }

  function watchTime(on) {
    shownSince = on && !document.hidden ? performance.now() : null;
  }

  // --- what is on screen ---

  function show(section) {
    for (const id of ["intro", "rating", "finish"]) {
      el(id).hidden = id !== section;
    }
    el("bar").hidden = section === "intro";
    window.scrollTo(0, 0);
  }

  function showProgress() {
    const done = nAnswered();
    el("progress").value = done;
    el("count").textContent = `${done} of ${items.size} answered`;
  }

  function showAnswer(question) {
    const value = state.answers[state.order[state.at]][question];
    const slider = el(question);
    slider.classList.toggle("unset", value === null);
    slider.value = value === null ? 50 : value;
    slider.setAttribute("aria-valuetext", value === null ? "not answered yet" : `${value} of 100`);
    const output = el(question + "-value");
    output.textContent = value === null ? "not set" : String(value);
    output.classList.toggle("unset", value === null);
  }

  function showNext() {
    const whole = answered(state.order[state.at]) === QUESTIONS.length;
    const last = state.at === state.order.length - 1;
    el("next").textContent = whole ? (last ? "Finish" : "Next") : "Skip for now";
    el("next").classList.toggle("primary", whole);
    el("back").disabled = state.at === 0;
  }

  function showItem(index) {
    countTime();
    state.at = index;
    const item = items.get(state.order[index]);
    show("rating");
    el("item-heading").textContent = `Picture ${index + 1} of ${items.size}`;
    el("style-wanted").textContent = item.style;
    el("source").src = study.sources[item.source];
    el("output").src = study.outputs[item.output];
    QUESTIONS.forEach(showAnswer);
    showNext();
    showProgress();
    watchTime(true);
    store();
    el("item-heading").focus();
  }

  function showFinish() {
    countTime();
    watchTime(false);
    const left = items.size - nAnswered();
    show("finish");
    showProgress();
    el("finish-heading").textContent = left === 0 ? "All done, thank you" : "Not all pictures are answered";
    el("finish-text").textContent =
      left === 0
        ? `You answered all ${items.size} pictures.`
        : `You answered ${items.size - left} of ${items.size} pictures. You can go on, or save what ` +
          "there is: it counts as far as it goes.";
    el("missing-row").hidden = left === 0;
    el("saved").textContent = "";
    store();
    el("finish-heading").focus();
  }

  function nextUnanswered() {
    const n = state.order.length;
    for (let step = 1; step <= n; step += 1) {
      const index = (state.at + step) % n;
      if (answered(state.order[index]) < QUESTIONS.length) {
        return index;
      }
    }
    return null;
  }

  function goToUnanswered() {
    const index = nextUnanswered();
    if (index === null) {
      showFinish();
    } else {
      showItem(index);
    }
  }

  function fillOverview() {
    const names = ["unanswered", "one answer missing", "answered"];
    const styles = ["", "half", "done"];
    el("dots").replaceChildren(
      ...state.order.map((name, index) => {
        const button = document.createElement("button");
        const count = answered(name);
        button.type = "button";
        button.className = styles[count];
        button.textContent = String(index + 1);
        button.setAttribute("aria-label", `Picture ${index + 1}, ${names[count]}`);
        if (index === state.at) {
          button.setAttribute("aria-current", "true");
        }
        button.addEventListener("click", () => {
          el("overview").close();
          showItem(index);
        });
        const entry = document.createElement("li");
        entry.append(button);
        return entry;
      }),
    );
  }

  // --- answers ---

  function setAnswer(question, value) {
    state.answers[state.order[state.at]][question] = value;
    state.ended = new Date().toISOString();
    countTime();
    showAnswer(question);
    showNext();
    showProgress();
    store();
  }

  for (const question of QUESTIONS) {
    const slider = el(question);
    slider.addEventListener("input", () => {
      moved = true;
      setAnswer(question, slider.valueAsNumber);
    });
    // pressing the line exactly where the unseen knob lies changes no value, yet it is an answer
    slider.addEventListener("pointerdown", () => {
      moved = false;
    });
    slider.addEventListener("click", () => {
      if (!moved && slider.classList.contains("unset")) {
        setAnswer(question, slider.valueAsNumber);
      }
    });
    slider.addEventListener("keydown", (event) => {
      if (event.key === " " && slider.classList.contains("unset")) {
        event.preventDefault();
        setAnswer(question, slider.valueAsNumber);
      }
      // the return key moves on only from a picture that is answered, so that none is skipped by it
      if (event.key === "Enter" && answered(state.order[state.at]) < QUESTIONS.length) {
        event.preventDefault();
      }
    });
  }

  // --- files ---

  function record() {
    return {
      format: "stylebench-answers",
      schema_version: 1,
      form_version: study.form_version,
      study_id: study.study_id,
      rater_id: state.rater,
      seed: state.seed,
      started: state.started,
      ended: state.ended,
      complete: nAnswered() === items.size,
      order: state.order,
      answers: state.order.map((name) => ({
        item: name,
        content: state.answers[name].content,
        style: state.answers[name].style,
        seconds: state.answers[name].ms / 1000,
      })),
    };
  }

  function asCsv(whole) {
    const shared = ["format", "schema_version", "form_version", "study_id", "rater_id", "seed", "started", "ended", "complete"];
    const own = ["item", "content", "style", "seconds"];
    const lines = [[...shared, "position", ...own].join(",")];
    whole.answers.forEach((answer, index) => {
      const cells = [...shared.map((name) => whole[name]), index + 1, ...own.map((name) => answer[name] ?? "")];
      lines.push(cells.join(",")); // no value here can hold a comma, a quote or a line break
    });
    return lines.join("\r\n") + "\r\n";
  }

  function save(text, type, ending) {
    const name = `answers-${study.study_id}-${state.rater}.${ending}`;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    el("saved").textContent = `Saved as ${name} where your browser puts downloads.`;
  }

  // --- buttons ---

  el("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state = newState(el("rater").value);
    showItem(0);
  });
  el("item-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.at + 1 < state.order.length) {
      showItem(state.at + 1);
    } else {
      showFinish();
    }
  });
  el("back").addEventListener("click", () => showItem(state.at - 1));
  el("open-overview").addEventListener("click", () => {
    fillOverview();
    el("overview").showModal();
  });
  el("close-overview").addEventListener("click", () => el("overview").close());
  el("overview-missing").addEventListener("click", () => {
    el("overview").close();
    goToUnanswered();
  });
  el("overview-finish").addEventListener("click", () => {
    el("overview").close();
    showFinish();
  });
  el("to-missing").addEventListener("click", goToUnanswered);
  el("to-items").addEventListener("click", () => showItem(state.at));
  el("save-json").addEventListener("click", () => {
    save(JSON.stringify(record(), null, 1) + "\n", "application/json", "json");
  });
  el("save-csv").addEventListener("click", () => save(asCsv(record()), "text/csv", "csv"));
  el("restart").addEventListener("click", () => {
    if (window.confirm("This removes the answers from this browser. Are they saved?")) {
      try {
        localStorage.removeItem(STORE);
      } catch {
        // nothing was kept
      }
      state = null;
      begin();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (state === null || el("rating").hidden) {
      return;
    }
    if (document.hidden) {
      countTime();
      store();
    } else {
      watchTime(true);
    }
  });
  window.addEventListener("pagehide", () => {
    if (state !== null) {
      countTime();
      store();
    }
  });
  window.addEventListener("beforeunload", (event) => {
    if (state !== null && !store()) {
      event.preventDefault();
    }
  });

  function begin() {
    el("storage-notice").hidden = storageWorks();
    state = stored();
    if (state === null) {
      el("rater").value = randomName();
      el("consent").checked = false;
      show("intro");
    } else if (nAnswered() === items.size) {
      showFinish();
    } else {
      showItem(state.at);
    }
  }

  begin();
})();
