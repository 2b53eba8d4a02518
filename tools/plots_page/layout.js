// DVC writes a flat list of charts and pictures: sort them into sections, with contents at the top.
{
  const main = document.querySelector("main");
  const found = document.getElementById("found");
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const words = (name) => name.replace(/\.\w+$/, "").replaceAll("_", " ");
  const sections = new Map();
  const section = (name, { className = "charts", isFolded = true } = {}) => {
    if (!sections.has(name)) {
      sections.set(name, { isFolded, box: make("section", { className }) });
    }
    return sections.get(name).box;
  };

  // A sheet is as wide as its pixels if there is room; smaller or between pixels, it is smoothed.
  const sharpen = (picture) => {
    const scale = (picture.clientWidth * window.devicePixelRatio) / picture.naturalWidth;
    const isWhole = scale > 0.99 && Math.abs(scale - Math.round(scale)) < 0.001;
    picture.style.imageRendering = isWhole ? "pixelated" : "auto";
  };
  const sharpness = new ResizeObserver((changes) => changes.forEach((it) => sharpen(it.target)));
  const showSheets = (card) => {
    const sheets = make("div", { className: "sheets" });
    sheets.append(...card.querySelectorAll(":scope > div"));
    card.append(sheets);
    for (const picture of sheets.querySelectorAll("img")) {
      picture.title = "click: every pixel, or fitted to the page";
      picture.addEventListener("click", () => card.classList.toggle("natural"));
      picture.addEventListener("load", () => sharpen(picture));
      sharpness.observe(picture);
    }
    for (const column of sheets.children) {
      column.addEventListener("scroll", () => {
        for (const other of sheets.children) other.scrollLeft = column.scrollLeft;
      });
    }
  };

  const placeSheet = (card) => {
    const name = card.querySelector("p");
    const title = words(name.textContent.split("/").pop());
    name.remove();
    showSheets(card);
    card.prepend(make("h3", { textContent: title }));
    section(title === "samples" ? "Samples" : "Other sheets").append(card);
  };
  const CURVES = ["nats per token", "masked nats", "reconstruction", "classification"];
  const placeChart = (card, title, stage) => {
    const { usermeta } = card.chart;
    let name = usermeta?.section ?? "Curves";
    if (stage && !CURVES.includes(title)) name = `Stage ${stage}`;
    if (stage && name === "Curves") title = `${words(stage)}: ${title}`;
    card.prepend(make("h3", { textContent: title }));
    if (stage === "train_prior" && title.endsWith("loss")) {
      const note = "sum of the losses of the prior; compares only between runs of one prior";
      card.querySelector("h3").after(make("p", { className: "note", textContent: note }));
    }
    section(name).append(card);
  };

  // Curves of metrics/STAGE/plots/metrics/SPLIT/NAME.tsv: one chart for the two splits.
  const placeCharts = (cards) => {
    const shown = cards.filter((card) => card.chart && charts.hasPoints(card.chart));
    const titles = new Map();
    for (const card of shown) titles.set([card.chart.title?.text ?? ""].flat().join(" "), card);
    for (const [title, card] of titles) {
      const parts = title.split("/");
      if (parts[0] !== "metrics") {
        placeChart(card, title);
        continue;
      }
      const [split, name] = parts.slice(-2);
      const training = titles.get(title.replace("/validation/", "/train/"));
      const validation = titles.get(title.replace("/train/", "/validation/"));
      const isRepeated = name === "steps.tsv"; // the charts by number of decoding steps show it
      if ((split === "validation" && training) || isRepeated) continue;
      if (split === "train" && validation) charts.merge(card.chart, validation.chart);
      const own = ["train", "validation"].includes(split) ? words(name) : words(parts.at(-1));
      placeChart(card, own, parts[1]);
    }
  };

  section("Samples", { className: "pictures", isFolded: false });
  section("Curves", { isFolded: false });
  section("Other sheets", { className: "pictures" });
  const cards = [...found.children];
  for (const card of cards) card.classList.add("card");
  for (const card of cards.filter((it) => it.querySelector("img"))) placeSheet(card);
  placeCharts(cards.filter((it) => !it.querySelector("img")));
  found.remove();

  // A chart takes its width from its card, so it is drawn when the card is shown.
  const drawCharts = (box) => {
    for (const card of box.querySelectorAll(".card:not(.drawn)")) {
      card.classList.add("drawn");
      if (card.chart) charts.draw(card);
    }
  };
  const last = ["Reference runs"].filter((name) => sections.has(name));
  for (const name of [...[...sections.keys()].filter((it) => !last.includes(it)), ...last]) {
    const { isFolded, box } = sections.get(name);
    if (!box.children.length) continue;
    const heading = make("h2", { textContent: name });
    if (isFolded) {
      const count = make("span", { textContent: ` (${box.children.length})` });
      const summary = make("summary", {}, heading, count);
      const folded = make("details", {}, summary, box);
      folded.addEventListener("toggle", () => folded.open && drawCharts(box));
      main.append(folded);
    } else {
      main.append(heading, box);
      drawCharts(box);
    }
  }

  const contents = document.querySelector("nav");
  for (const heading of main.querySelectorAll("h2")) {
    heading.id = heading.textContent.toLowerCase().replace(/\W+/g, "-");
    const link = make("a", { href: `#${heading.id}`, textContent: heading.textContent });
    link.addEventListener("click", () => heading.closest("details")?.setAttribute("open", ""));
    contents.append(link);
  }
}
