"use strict";
// Which samples the gallery shows, and in which order. Nothing here touches the page.
const galleryOrder = (() => {
  const matches = (data, { prompt, text }) => {
    const wanted = text.trim().toLowerCase();
    const images = data.images.map((name) => name.toLowerCase().includes(wanted));
    const places = [];
    for (let place = 0; place < data.sampleImages.length; place += 1) {
      if (prompt !== null && data.samplePrompts[place] !== prompt) continue;
      if (images[data.sampleImages[place]]) places.push(place);
    }
    return places;
  };

  const scoreOf = (data, run, metric, place) => data.runs[run].scores[metric]?.[place] ?? null;

  // Missing values go last whichever way; ties keep the order of the dataset.
  const byScore = (data, places, run, metric, bestFirst) => {
    const sign = data.metrics[metric].higher === bestFirst ? -1 : 1;
    const value = (place) => scoreOf(data, run, metric, place);
    return places.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * (x - y) || a - b;
    });
  };

  const byFailures = (data, places, runs) => {
    const count = new Map(
      places.map((place) => [place, runs.filter((run) => data.runs[run].problems[place]).length]),
    );
    return places.sort((a, b) => count.get(b) - count.get(a) || a - b);
  };

  // places of the samples to show, as `choice` says: {prompt, text, order, run, metric, shown}
  const select = (data, choice) => {
    const places = matches(data, choice);
    if (choice.order === "failures") return byFailures(data, places, choice.shown);
    if (choice.order === "none" || data.metrics.length === 0) return places;
    return byScore(data, places, choice.run, choice.metric, choice.order === "best");
  };

  return { select, scoreOf };
})();
