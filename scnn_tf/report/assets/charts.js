// Tables and charts of the results. Plotly is decompressed when the first chart comes into view.

/** Makes an element. Text stays text: nothing from a file becomes markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Escapes a text for Plotly, which interprets some tags as formatting. */
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

let unpacked = null;

function plotly() {
  unpacked ||= (async () => {
    const packed = atob(document.getElementById("plotly").textContent.trim());
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const text = await new Response(stream).text();
    document.head.append(make("script", { textContent: text }));
    return window.Plotly;
  })();
  return unpacked;
}

function tableOf(caption, header, rows) {
  const cell = (tag, value) => {
    const text = value === null ? "–" : String(value);
    return make(tag, { className: /^[–\d.,± ]+$/.test(text) ? "number" : "" }, text);
  };
  return make("div", { className: "scroll" }, make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...header.map((value) => cell("th", value)))),
    make("tbody", {}, ...rows.map((row) =>
      make("tr", {}, ...row.map((value, n) => cell(n ? "td" : "th", value)))))));
}

const decimals = (value, digits = 3) =>
  typeof value === "number" ? value.toFixed(digits).replace(/^(-?)0\./, "$1.") : null;
const thousands = (value) => (typeof value === "number" ? value.toLocaleString("en") : null);

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Returns the standard deviation of several runs, 0 for one run. */
function deviation(values) {
  if (values.length < 2) return 0;
  const middle = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

function measuredOn(evaluation) {
  const counts = ["videos", "instances", "ambiguous", "classes"]
    .filter((name) => typeof evaluation[name] === "number")
    .map((name) => `${thousands(evaluation[name])} ${name}`.replace(/ambiguous$/, "$& intervals"));
  const protocol = evaluation.protocol ? [`protocol ${evaluation.protocol}`] : [];
  return [...protocol, ...(counts.length ? [counts.join(", ")] : [])].join(": ");
}

/** Returns the evaluations that have the tIoU, as [name, evaluation]. */
function evaluatedAt(evaluations, tiou) {
  return Object.entries(evaluations).filter(([, evaluation]) => tiou in evaluation.map);
}

function resultTables(data) {
  const tables = [];
  const evaluations = Object.entries(data.evaluations);
  if (evaluations.length) {
    const keys = [...new Set(evaluations.flatMap(([, each]) => Object.keys(each.map)))]
      .sort((a, b) => a - b);
    tables.push(tableOf("mAP at tIoU", ["", ...keys, "measured on"], evaluations.map(
      ([name, each]) => [name, ...keys.map((key) => decimals(each.map[key])), measuredOn(each)])));
    for (const [name, each] of evaluations) {
      const at = Object.keys(each.map);
      const rows = Object.entries(each.ap).map(
        ([label, ap]) => [label, ...at.map((key) => decimals(ap[key]))]);
      const counted = each.detections || {};
      rows.push(["mAP", ...at.map((key) => decimals(each.map[key]))]);
      rows.push(["detections", ...at.map((key) => thousands(counted[key]))]);
      tables.push(make("details", {}, make("summary", {}, `AP of each class: ${name}`),
        make("p", { className: "muted" }, measuredOn(each)), tableOf("", ["tIoU", ...at], rows)));
    }
  }
  const stages = Object.entries(data.training);
  if (stages.length) {
    tables.push(tableOf("training", ["network", "steps", "segments", "seconds", "loss", "accuracy"],
      stages.map(([name, { metrics }]) => [name, thousands(metrics.steps),
        thousands(metrics.segments), thousands(metrics.seconds), decimals(metrics.loss),
        decimals(metrics.accuracy ?? metrics.classes_accuracy)])));
  }
  if (data.ablation && data.ablation.variants) {
    const variants = Object.entries(data.ablation.variants);
    const keys = Object.keys(variants[0]?.[1] || {});
    const runs = (data.ablation.runs || []).length;
    tables.push(tableOf(
      `ablation, mAP at tIoU: mean ± standard deviation of ${runs} runs; ` +
        measuredOn(data.ablation),
      ["", ...keys], variants.map(([name, maps]) => [name, ...keys.map(
        (key) => `${decimals(mean(maps[key]))} ± ${decimals(deviation(maps[key]))}`)])));
  }
  return tables.sort((a, b) => (a.tagName === "DETAILS") - (b.tagName === "DETAILS"));
}

/**
 * Returns the charts that the page has data for.
 * @param {object} state State of the page: tiou, only, counts() by class and error type.
 * @return {object[]} Charts: title, note(), height(), traces(), layout().
 */
function chartsOf(data, state) {
  const charts = [];
  const tiou = () => data.tiou[state.tiou];
  const recall = ({ found, instances }) => found / Math.max(1, instances);
  const axis = (title, more = {}) => ({ title: { text: title }, ...more });
  const unit = { range: [0, 1.02] };
  if (data.videos[0]?.errorType) {
    charts.push({
      title: "Error types by class",
      note: () => `at tIoU ${tiou()}, detections from the score of the slider on; missed ` +
        "instances are those without a true positive",
      height: () => 130 + 26 * data.labels.length,
      traces: () => {
        const counts = state.counts();
        const order = data.labels.map((_, label) => label)
          .sort((a, b) => recall(counts[a]) - recall(counts[b]));
        const names = order.map((label) => plain(data.labels[label]));
        const bar = (name, values, fill) => ({
          type: "bar", orientation: "h", name, y: names, x: values, marker: { color: fill } });
        return [
          ...data.errorTypes.map((type, n) =>
            bar(type, order.map((label) => counts[label].types[n]), colour(variable(type)))),
          bar("missed", order.map((label) => counts[label].found - counts[label].instances),
            colour("muted")),
        ].filter((trace) => trace.x.some((value) => value));
      },
      layout: () => ({ barmode: "relative",
        xaxis: axis("detections (missed instances to the left)"),
        yaxis: { type: "category", automargin: true } }),
    });
  }
  if (Object.keys(data.evaluations).length) {
    charts.push({
      title: "Average precision of each class",
      note: () => {
        const shown = evaluatedAt(data.evaluations, tiou());
        if (!shown.length) return `there is no evaluation at tIoU ${tiou()}`;
        const on = new Set(shown.map(([, each]) => measuredOn(each)));
        return `at tIoU ${tiou()}; ${[...on].join("; ")}`;
      },
      height: () => {
        const evaluations = Object.values(data.evaluations);
        const bars = 1 + Object.keys(evaluations[0].ap).length;
        return 130 + 26 * bars * Math.max(1, 0.6 * evaluations.length);
      },
      traces: () => {
        const shown = evaluatedAt(data.evaluations, tiou());
        if (!shown.length) return [];
        const first = shown[0][1].ap;
        const order = Object.keys(first).sort((a, b) => first[a][tiou()] - first[b][tiou()]);
        return shown.map(([name, each]) => ({
          type: "bar", orientation: "h", name: plain(name),
          y: ["<b>mean</b>", ...order.map(plain)],
          x: [each.map[tiou()], ...order.map((label) => each.ap[label]?.[tiou()] ?? null)],
          hovertemplate: "%{x:.3f}",
        }));
      },
      layout: () => ({ xaxis: axis("average precision", unit),
        yaxis: { type: "category", automargin: true } }),
    });
    charts.push({
      title: "mAP against tIoU",
      note: () => [...new Set(Object.values(data.evaluations).map(measuredOn))].join("; "),
      traces: () => Object.entries(data.evaluations).map(([name, each]) => {
        const keys = Object.keys(each.map).sort((a, b) => a - b);
        return { mode: "lines+markers", name: plain(name), x: keys.map(Number),
          y: keys.map((key) => each.map[key]), hovertemplate: "%{y:.3f}" };
      }),
      layout: () => ({ xaxis: axis("tIoU"), yaxis: axis("mAP", unit) }),
    });
  }
  if (data.precision) {
    charts.push({
      title: "Precision against recall",
      note: () => `at tIoU ${tiou()}, a point for each true positive; protocol ${data.protocol}` +
        (data.labels.length > 8 ? "; point at a curve for its class, or choose one above" : ""),
      height: () => 400,
      traces: () => Object.entries(data.precision)
        .filter(([label]) => state.only < 0 || data.labels[state.only] === label)
        .map(([label, { instances, precision }]) => ({
          mode: precision[state.tiou].length > 1 ? "lines" : "markers", name: plain(label),
          x: precision[state.tiou].map((_, n) => (n + 1) / instances), y: precision[state.tiou],
          line: { width: 1.5 }, hovertemplate: "recall %{x:.2f}, precision %{y:.2f}",
        })),
      layout: () => ({ xaxis: axis("recall", unit), yaxis: axis("precision", unit),
        showlegend: data.labels.length <= 8 }),
    });
  }
  const curve = (name, points, more = {}) => ({ mode: "lines", name: plain(name),
    x: points.map(([step]) => step), y: points.map(([, value]) => value),
    hovertemplate: "step %{x}: %{y:.3f}", ...more });
  const measured = (name) => Object.values(data.training)
    .some((each) => each[name]?.length || each.validation?.[name]?.length);
  for (const name of ["loss", "accuracy"].filter(measured)) {
    charts.push({
      title: `Training: ${name}`,
      note: () => "on the training segments, mean over the last steps" +
        (Object.values(data.training).some((each) => each.validation?.[name])
          ? "; dotted: on the validation segments" : ""),
      traces: () => Object.entries(data.training).flatMap(([stage, each], n) => {
        const color = colour(`class${n % 8}`);
        return [
          curve(stage, each[name], { line: { color } }),
          curve(`${stage}, validation`, each.validation?.[name] || [],
            { mode: "lines+markers", line: { color, dash: "dot" } }),
        ].filter((trace) => trace.x.length);
      }),
      layout: () => ({ xaxis: axis("step", { rangemode: "tozero" }),
        yaxis: axis(name, name === "accuracy" ? unit : { rangemode: "tozero" }),
        showlegend: true }),
    });
  }
  const maps = Object.entries(data.training).flatMap(([stage, { validation, metrics }]) =>
    Object.entries(validation || {}).filter(([name]) => name.startsWith("mAP@"))
      .map(([name, points]) => ({ stage, name, points, best: metrics.best_step })));
  if (maps.length) {
    charts.push({
      title: "Training: mAP in the validation videos",
      note: () => "of the running average of the weights; ringed: the weights that were kept",
      traces: () => maps.map(({ stage, name, points, best }) =>
        curve(`${stage}, tIoU ${name.slice(4)}`, points, { mode: "lines+markers", marker: {
          symbol: points.map(([step]) => (step === best ? "circle-open" : "circle")),
          size: points.map(([step]) => (step === best ? 12 : 6)), line: { width: 2 } } })),
      layout: () => ({ xaxis: axis("step", { rangemode: "tozero" }), yaxis: axis("mAP", unit),
        showlegend: true }),
    });
  }
  if (data.ablation) {
    const { depths, top_k: curves } = data.ablation;
    charts.push({
      title: "The best κ detections of a class for each of its instances",
      note: () => "mAP at tIoU 0.5, mean and standard deviation of the runs; " +
        measuredOn(data.ablation),
      traces: () => Object.entries(curves).map(([name, runs]) => {
        const at = depths.map((_, n) => runs.map((run) => run[n]));
        return { mode: "lines+markers", name: plain(name), x: depths, y: at.map(mean),
          error_y: { array: at.map(deviation), visible: runs.length > 1, thickness: 1 },
          hovertemplate: "%{y:.3f}" };
      }),
      layout: () => ({ xaxis: axis("κ", { type: "log", tickvals: depths }),
        yaxis: axis("mAP", { rangemode: "tozero" }), showlegend: true }),
    });
  }
  return charts;
}

/** Adds charts to the page, each drawn when it comes into view; returns a function to redraw. */
function showCharts(place, charts) {
  const seen = new Set();
  const cards = charts.map((chart) => {
    const note = make("p", { className: "muted" });
    const plot = make("div", { className: "plot" });
    const card = make("figure", { className: "card" }, make("h3", {}, chart.title), note, plot);
    return { chart, note, plot, card };
  });
  const draw = async ({ chart, note, plot, card }) => {
    note.textContent = chart.note();
    let library;
    try {
      library = await plotly();
    } catch (error) {
      plot.textContent = `The chart cannot be drawn: ${error.message}`;
      return;
    }
    const traces = chart.traces(), layout = chart.layout();
    const text = colour("ink"), line = colour("line");
    const palette = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => colour(`class${n}`));
    for (const part of ["xaxis", "yaxis"]) {
      layout[part] = { gridcolor: line, zerolinecolor: line, fixedrange: false, ...layout[part] };
    }
    plot.style.height = `${chart.height ? chart.height() : 340}px`;
    await library.react(plot, traces, {
      font: { color: text, family: "system-ui, sans-serif", size: 12 }, colorway: palette,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      margin: { l: 52, r: 12, t: 8, b: 44 }, dragmode: "zoom", hovermode: "closest",
      hoverlabel: { bgcolor: colour("card"), font: { color: text } },
      legend: { orientation: "h", y: 1.01, yanchor: "bottom", x: 0 }, ...layout,
    }, { responsive: true, displaylogo: false, displayModeBar: false });
    card.dataset.drawn = "yes";
  };
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || seen.has(target)) continue;
      seen.add(target);
      draw(cards.find(({ card }) => card === target));
    }
  }, { rootMargin: "200px" });
  for (const { card } of cards) {
    place.append(card);
    observer.observe(card);
  }
  return () => cards.filter(({ card }) => seen.has(card)).forEach(draw);
}
