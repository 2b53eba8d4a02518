// DVC calls vegaEmbed for each chart. Keep the chart on its card: layout.js merges the charts of
// training and validation, and draws a chart when its section is shown.
const charts = {};
{
  const draw = window.vegaEmbed;
  const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const config = {
    font, background: "transparent", view: { stroke: null },
    axis: { gridColor: "#eceff4", domainColor: "#c9d0db", tickColor: "#c9d0db",
      labelColor: "#667085", titleColor: "#667085", titleFontWeight: "normal" },
    legend: { orient: "bottom", columns: 2, title: null, labelLimit: 360, symbolStrokeWidth: 2 },
  };
  const actions = { export: true, source: false, compiled: false, editor: false };
  const options = { mode: "vega-lite", actions, config, renderer: "svg", logLevel: 1 };

  const isNumber = (value) => value !== "" && value != null && Number.isFinite(Number(value));

  // The columns that a chart shows on an axis of numbers.
  const measures = (part, axis, found = []) => {
    for (const [name, value] of Object.entries(part)) {
      if (name === axis && value?.field && value.type === "quantitative") found.push(value.field);
      else if (name !== "data" && value && typeof value === "object") measures(value, axis, found);
    }
    return found;
  };

  // Leave out rows without the shown numbers; a curve needs two points, bars need one.
  charts.hasPoints = (chart) => {
    const [x, y] = ["x", "y"].map((axis) => measures(chart, axis));
    const rows = chart.data?.values ?? [];
    const isKnown = (row) => [...x, ...y].every((name) => isNumber(row[name]));
    chart.data = { values: rows.filter(isKnown) };
    const isCurve = x.length && y.length;
    const points = isCurve ? chart.data.values.map((row) => row[x[0]]) : chart.data.values;
    return new Set(points).size >= (isCurve ? 2 : 1);
  };

  // Losses with a large range get a logarithmic axis, which shows their last part as well.
  const isSteep = (chart, title) => {
    const [y] = measures(chart, "y");
    const values = chart.data.values.map((row) => Number(row[y]));
    const least = Math.min(...values);
    const isLoss = /loss|error|reconstruction/i.test(title);
    return isLoss && least > 0 && Math.max(...values) > 20 * least;
  };
  const onLogScale = (part) => {
    for (const [name, value] of Object.entries(part)) {
      if (name === "y" && value?.field) value.scale = { type: "log", nice: false };
      else if (name !== "data" && value && typeof value === "object") onLogScale(value);
    }
  };

  // Add the values of validation to a curve of training, as DVC draws the curves of two files.
  charts.merge = (chart, validation) => {
    const named = (rows, split) => rows.map((row) => ({ ...row, split }));
    chart.data.values = named(chart.data.values, "training");
    chart.data.values.push(...named(validation.data.values, "validation"));
    chart.encoding.strokeDash = {
      field: "split",
      scale: { domain: ["training", "validation"], range: [[1, 0], [6, 4]] },
      legend: { symbolFillColor: "transparent", symbolStrokeColor: "grey" },
    };
    for (const layer of [chart, ...chart.layer, ...chart.layer.flatMap((it) => it.layer ?? [])]) {
      for (const step of layer.transform ?? []) {
        if (step.loess) step.groupby = ["rev", "split"];
        if (step.calculate) step.calculate = "datum.rev + '::' + datum.split";
      }
    }
  };

  // Vega-Lite fits no chart to its card whose height is given by bar.
  const numBars = (chart) => {
    const { y, yOffset } = chart.encoding;
    return new Set(chart.data.values.map((row) => `${row[y.field]}/${row[yOffset?.field]}`)).size;
  };

  charts.draw = (card) => {
    const { chart } = card;
    if (isSteep(chart, card.querySelector("h3").textContent)) onLogScale(chart);
    if (typeof chart.width === "number" && !chart.encoding?.row) {
      if (chart.height?.step) chart.height = chart.height.step * numBars(chart);
      Object.assign(chart, { width: "container", autosize: { type: "fit", contains: "padding" } });
    }
    const canvas = card.appendChild(document.createElement("div"));
    return draw(canvas, { ...chart, $schema: undefined, title: undefined }, options);
  };

  window.vegaEmbed = (target, chart) => {
    document.querySelector(target).chart = chart;
  };
}
