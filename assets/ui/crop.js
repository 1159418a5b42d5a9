// The crop is dragged on the picture itself: a new box, the box, or one of its eight handles. Python draws what is left.
(() => {
  const LEAST = 2, STEP = 1; // percent
  let aspect = "", guide = "none"; // as chosen last, for every picture
  let act = null, drag = null, timer = 0, focused = false;

  const frame = () => document.querySelector("[data-crop]");
  const box = () => frame()?.querySelector("i");
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  // The box in percent of the picture: left, top, right, bottom.
  const read = () => {
    const style = box().style, left = parseFloat(style.left), top = parseFloat(style.top);
    return [left, top, left + parseFloat(style.width), top + parseFloat(style.height)];
  };
  const paint = ([left, top, right, bottom]) => {
    const { width, height, side } = frame().dataset;
    Object.assign(box().style, { left: `${left}%`, top: `${top}%`, width: `${right - left}%`, height: `${bottom - top}%` });
    const wide = Math.round(((right - left) * width) / 100), high = Math.round(((bottom - top) * height) / 100);
    const told = document.querySelector("[data-crop-told]");
    const small = Math.min(wide, high) < side ? ` · smaller than the ${side} px that are trained` : "";
    told.textContent = `${wide} × ${high} of ${width} × ${height} pixels, ${Math.round((100 * wide * high) / (width * height))}% of the picture${small}`;
  };
  const commit = () => act?.({ act: "drag", edges: read().map((edge) => clamp(edge, 0, 100)) });

  // How much higher than wide a box of the chosen shape is, both in percent of the picture.
  const slope = () => (aspect ? frame().dataset.width / frame().dataset.height / Number(aspect) : 0);
  // A box from a fixed corner towards a point, in the chosen shape and inside the picture.
  const spread = (x, y, toX, toY) => {
    const right = toX >= x, down = toY >= y, roomX = right ? 100 - x : x, roomY = down ? 100 - y : y;
    let wide = clamp(Math.abs(toX - x), LEAST, roomX), high = clamp(Math.abs(toY - y), LEAST, roomY);
    if (slope()) {
      wide = Math.max(wide, high / slope());
      wide = Math.min(wide, roomX, roomY / slope());
      high = wide * slope();
    }
    return [right ? x : x - wide, down ? y : y - high, right ? x + wide : x, down ? y + high : y];
  };
  const resized = ([left, top, right, bottom], side, x, y) => {
    if (side.length === 2 || slope()) {
      const fixX = side.includes("w") ? right : left, fixY = side.includes("n") ? bottom : top;
      const toX = /[we]/.test(side) ? x : right, toY = /[ns]/.test(side) ? y : (slope() ? fixY : bottom);
      return spread(fixX, fixY, side === "n" || side === "s" ? fixX : toX, toY);
    }
    if (side === "n") top = clamp(y, 0, bottom - LEAST);
    if (side === "s") bottom = clamp(y, top + LEAST, 100);
    if (side === "w") left = clamp(x, 0, right - LEAST);
    if (side === "e") right = clamp(x, left + LEAST, 100);
    return [left, top, right, bottom];
  };
  const moved = ([left, top, right, bottom], x, y) => {
    const dx = clamp(x, -left, 100 - right), dy = clamp(y, -top, 100 - bottom);
    return [left + dx, top + dy, right + dx, bottom + dy];
  };
  const fitted = () => { // the present box in the shape that was chosen just now, around its middle
    const [left, top, right, bottom] = read();
    if (!slope()) return [left, top, right, bottom];
    const wide = Math.min(right - left, (bottom - top) / slope()), high = wide * slope();
    const x = (left + right) / 2, y = (top + bottom) / 2;
    return moved([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], 0, 0);
  };

  const point = (event) => {
    const area = frame().getBoundingClientRect();
    return [clamp((100 * (event.clientX - area.left)) / area.width, 0, 100), clamp((100 * (event.clientY - area.top)) / area.height, 0, 100)];
  };
  document.addEventListener("pointerdown", (event) => {
    const here = event.target.closest?.("[data-crop]");
    if (!here || event.button) return;
    event.preventDefault();
    const [x, y] = point(event), edges = read(), handle = event.target.dataset.handle;
    const whole = edges[2] - edges[0] > 99.5 && edges[3] - edges[1] > 99.5;
    drag = { x, y, edges, how: handle || (event.target.closest("i") && !whole ? "move" : "new"), far: false };
    box().focus({ preventScroll: true });
    here.setPointerCapture?.(event.pointerId);
  });
  document.addEventListener("pointermove", (event) => {
    if (!drag || !frame()) return;
    const [x, y] = point(event);
    drag.far ||= Math.hypot(x - drag.x, y - drag.y) > 1;
    if (!drag.far) return;
    if (drag.how === "move") paint(moved(drag.edges, x - drag.x, y - drag.y));
    else if (drag.how === "new") paint(spread(drag.x, drag.y, x, y));
    else paint(resized(drag.edges, drag.how, x, y));
  });
  for (const end of ["pointerup", "pointercancel"]) document.addEventListener(end, () => {
    if (drag?.far && frame()) commit();
    drag = null;
  });
  document.addEventListener("keydown", (event) => {
    if (event.target !== box()) return;
    const dx = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key] || 0, dy = { ArrowUp: -STEP, ArrowDown: STEP }[event.key] || 0;
    if (!dx && !dy) return;
    event.preventDefault();
    event.stopPropagation();
    const edges = read();
    paint(event.shiftKey ? resized(edges, slope() ? "se" : dx ? "e" : "s", edges[2] + dx, edges[3] + dy) : moved(edges, dx, dy));
    clearTimeout(timer);
    timer = setTimeout(commit, 300);
  }, true);
  document.addEventListener("click", (event) => {
    const node = event.target.closest?.(".fl-crop-tools button");
    if (!node) return;
    if (node.dataset.guide) guide = node.dataset.guide;
    else aspect = node.dataset.aspect || "";
    mark();
    if (!node.dataset.guide && aspect) { paint(fitted()); commit(); }
  });
  document.addEventListener("focusin", (event) => { focused = event.target === box(); });

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#curate-crop-fold .label-wrap")) return;
    setTimeout(() => document.querySelector("#curate-crop-fold [data-crop]")?.scrollIntoView({ block: "center" }), 250);
  });

  const mark = () => {
    document.querySelectorAll(".fl-crop-tools button").forEach((node) => {
      const on = node.dataset.guide ? node.dataset.guide === guide : (node.dataset.aspect || "") === aspect;
      node.classList.toggle("on", on);
      node.setAttribute("aria-pressed", on);
    });
    if (frame()) frame().dataset.guided = guide;
  };
  const settle = (element, trigger) => {
    if (!element.querySelector("[data-crop]")) return;
    act = trigger;
    mark();
    if (focused && document.activeElement === document.body) box().focus({ preventScroll: true });
  };
  window.flenCrop = { settle };
})();
