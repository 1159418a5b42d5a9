// Review's workbench: paint over a wrong picture, pick its colours, mark an area of it. Strokes are kept for each picture
// until the page is left, so that a drawing from Python takes nothing away; Python receives a transparent layer.
(() => {
  const LEAST = 768; // pixels of the canvas' longer side: small pictures are painted finer than they are
  const AREA = "#8ba2ff";
  const drawn = new Map(); // picture -> strokes
  const hand = { tool: "brush", colour: "#808080", size: 24, of: "" }; // of: the picture that the first colour came from
  let stroke = null;

  const place = () => [...document.querySelectorAll("[data-canvas]")].find((node) => node.offsetParent);
  const strokes = (id) => { if (!drawn.has(id)) drawn.set(id, []); return drawn.get(id); };
  const measure = (node) => {
    const width = Number(node.dataset.width), height = Number(node.dataset.height);
    const factor = Math.max(1, Math.floor(LEAST / Math.max(width, height)));
    return { width: width * factor, height: height * factor };
  };

  // Draws the strokes of some tools: paint is what the brush left, area what was marked.
  const render = (context, list, tool) => {
    const { width, height } = context.canvas;
    context.clearRect(0, 0, width, height);
    context.lineCap = context.lineJoin = "round";
    for (const each of list) {
      if (each.tool !== tool && each.tool !== "rub") continue;
      context.globalCompositeOperation = each.tool === "rub" ? "destination-out" : "source-over";
      context.strokeStyle = each.tool === "brush" ? each.colour : AREA;
      context.lineWidth = each.size * Math.max(width, height);
      context.beginPath();
      each.points.forEach(([x, y], at) => (at ? context.lineTo(x * width, y * height) : context.moveTo(x * width, y * height)));
      if (each.points.length === 1) context.lineTo(each.points[0][0] * width + 0.01, each.points[0][1] * height);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
  };
  const layer = (node, tool) => {
    const sheet = Object.assign(document.createElement("canvas"), measure(node));
    render(sheet.getContext("2d"), strokes(node.dataset.canvas), tool);
    return sheet;
  };
  const paint = (node) => {
    const canvas = node.querySelector("canvas");
    if (!canvas) return;
    const size = measure(node);
    if (canvas.width !== size.width || canvas.height !== size.height) Object.assign(canvas, size);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(layer(node, "brush"), 0, 0);
    context.globalAlpha = 0.45;
    context.drawImage(layer(node, "area"), 0, 0);
    context.globalAlpha = 1;
  };

  const read = (context) => "#" + [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((each) => each.toString(16).padStart(2, "0")).join("");
  const dot = () => Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");

  // The brush begins with the colour in the middle of the picture.
  const begin = (node) => {
    const image = node?.querySelector("img"), context = dot();
    if (!image || hand.of === node.dataset.canvas) return;
    if (!image.naturalWidth) return image.addEventListener("load", show, { once: true });
    const side = Math.ceil(image.naturalWidth / 40);
    context.drawImage(image, (image.naturalWidth - side) / 2, (image.naturalHeight - side) / 2, side, side, 0, 0, 1, 1);
    Object.assign(hand, { colour: read(context), of: node.dataset.canvas });
  };

  const show = () => {
    begin(place());
    document.querySelectorAll("[data-tool]").forEach((node) => {
      node.classList.toggle("on", node.dataset.tool === hand.tool);
      if (node.dataset.tool !== "back") node.setAttribute("aria-pressed", node.dataset.tool === hand.tool);
    });
    document.querySelectorAll("[data-colour]").forEach((node) => { node.value = hand.colour; });
    document.querySelectorAll("[data-size]").forEach((node) => { node.value = hand.size; });
    const node = place(), list = node ? strokes(node.dataset.canvas) : [];
    document.querySelectorAll("[data-layer]").forEach((button) => button.classList.toggle("accent", list.some((each) => each.tool === button.dataset.layer)));
    if (node) { paint(node); node.dataset.in = hand.tool; }
  };

  const at = (node, event) => {
    const box = node.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const pick = (node, [x, y]) => {
    const image = node.querySelector("img"), context = dot(), sheet = layer(node, "brush");
    context.drawImage(image, Math.floor(x * image.naturalWidth), Math.floor(y * image.naturalHeight), 1, 1, 0, 0, 1, 1);
    context.drawImage(sheet, Math.floor(x * sheet.width), Math.floor(y * sheet.height), 1, 1, 0, 0, 1, 1);
    Object.assign(hand, { colour: read(context), tool: "brush" });
    show();
  };

  document.addEventListener("pointerdown", (event) => {
    const node = event.target.closest?.("[data-canvas]");
    if (!node || event.button || !node.querySelector("canvas")) return;
    event.preventDefault();
    document.activeElement?.blur(); // keys are meant for the canvas now, no longer for a field
    const point = at(node, event);
    if (hand.tool === "pick" || event.altKey) return pick(node, point);
    stroke = { tool: hand.tool, colour: hand.colour, size: hand.size / 400, points: [point], id: node.dataset.canvas };
    strokes(stroke.id).push(stroke);
    paint(node);
  });
  document.addEventListener("pointermove", (event) => {
    const node = stroke && place();
    if (!node || node.dataset.canvas !== stroke.id) return;
    stroke.points.push(at(node, event));
    paint(node);
  });
  for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => { if (stroke) { stroke = null; show(); } });

  const back = () => {
    const node = place();
    if (node) strokes(node.dataset.canvas).pop();
    show();
  };
  document.addEventListener("click", (event) => {
    const tool = event.target.closest("[data-tool]")?.dataset.tool;
    if (tool) { if (tool === "back") back(); else hand.tool = tool; show(); }
    const said = event.target.closest(".fl-easel .try [data-act]");
    if (said) setTimeout(() => said.parentElement.querySelectorAll("[data-key]").forEach((each) => { each.disabled = true; delete each.dataset.key; }), 0);
    const sent = event.target.closest("[data-layer]"), node = sent && place();
    if (!node) return;
    const used = strokes(node.dataset.canvas).some((each) => each.tool === sent.dataset.layer);
    const name = sent.dataset.layer;
    sent.dataset.layer = used ? layer(node, name).toDataURL("image/png") : "";
    setTimeout(() => { sent.dataset.layer = name; }, 0); // after the click has been sent
  }, true);
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-colour]")) Object.assign(hand, { colour: event.target.value, tool: "brush" });
    else if (event.target.matches("[data-size]")) hand.size = Number(event.target.value);
    else return;
    show();
  });
  document.addEventListener("keydown", (event) => {
    const own = event.target.matches?.("[data-colour], [data-size]");
    if (!place() || !own && /^(input|textarea|select)$/i.test(event.target.tagName)) return;
    if (own && !event.ctrlKey && !event.metaKey) [...document.querySelectorAll("[data-tool]")].find((node) => node.dataset.key === event.key)?.click();
    if ((event.ctrlKey || event.metaKey) && event.key === "z") { event.preventDefault(); back(); }
    if (event.key === "[" || event.key === "]") {
      hand.size = Math.min(100, Math.max(1, Math.round(hand.size * (event.key === "[" ? 0.8 : 1.25)) + (event.key === "[" ? 0 : 1)));
      show();
    }
  });

  // What is drawn for another picture than the one on the workbench is not shown, and hears no key.
  const fit = () => {
    const mended = document.querySelector("[data-desk][data-bench]")?.dataset.bench, drawn = document.querySelector("[data-easel]");
    document.querySelector("#mend")?.toggleAttribute("data-other", drawn?.dataset.easel !== mended);
    show();
  };
  window.flenBench = { fit, settle: (element) => { if (element.querySelector("[data-canvas]")) fit(); } };
})();
