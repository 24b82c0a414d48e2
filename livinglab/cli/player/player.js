"use strict";
// The player of a replay (schema: livinglab/domain/replay.py). Everything shown as text goes in as text, never as markup.
(() => {
  const replay = JSON.parse(document.getElementById("replay").textContent);
  const $ = (id) => document.getElementById(id);
  const scene = $("scene"), slider = $("slider"), zoom = $("zoom"), play = $("play");
  const reduced = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const LONGEST = 8; // s of time to collision that the plot shows
  let chosen = 0, episode = null, frame = 0, playing = false, clock = 0, before = 0;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const palette = {};
  function repaint() {
    // a custom property keeps light-dark() as it was written; a used colour is what it comes to
    const probe = document.body.appendChild(document.createElement("i"));
    for (const name of ["text", "faint", "line", "accent", "danger", "road", "mark", "car", "lorry", "pedestrian", "card"]) {
      probe.style.color = colour(name);
      palette[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    draw();
  }

  function fit(canvas) {
    const ratio = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
    const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return { pen, width, height };
  }

  // --- the scene ------------------------------------------------------------------------------------------------------

  function turn(from, to, share) {
    const way = ((to - from + Math.PI) % (2 * Math.PI) + 2 * Math.PI) % (2 * Math.PI) - Math.PI;
    return from + way * share;
  }

  // Where another road user is at a frame: between two frames at which it is known, on the straight line; null before and after.
  function placeOf(other, at) {
    const { frames } = other;
    let low = 0, high = frames.length - 1;
    if (at < frames[0] || at > frames[high] + 5) return null;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (frames[middle] <= at) low = middle; else high = middle - 1;
    }
    const next = low + 1;
    if (next >= frames.length) return { x: other.x[low], y: other.y[low], angle: other.angle[low] };
    if (frames[next] - frames[low] > 20 && at !== frames[low]) return null; // it was out of sight in between
    const share = (at - frames[low]) / (frames[next] - frames[low]), mix = (track) => track[low] + share * (track[next] - track[low]);
    return { x: mix(other.x), y: mix(other.y), angle: turn(other.angle[low], other.angle[next], share) };
  }

  function body(pen, at, size, fill) {
    pen.save();
    pen.translate(at.x, at.y);
    pen.rotate(at.angle);
    pen.fillStyle = fill;
    pen.beginPath();
    pen.roundRect(-size.length / 2, -size.width / 2, size.length, size.width, Math.min(size.length, size.width) * 0.22);
    pen.fill();
    if (size.length > 1) { // a windscreen, to show where it looks
      pen.fillStyle = palette.card;
      pen.globalAlpha = 0.55;
      pen.fillRect(size.length / 2 - Math.min(1.5, size.length * 0.3), -size.width * 0.38, Math.min(0.7, size.length * 0.15), size.width * 0.76);
    }
    pen.restore();
  }

  function line(pen, points, stroke, width, dash = []) {
    pen.strokeStyle = stroke;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
    pen.setLineDash([]);
  }

  function ground(pen, left, right, low, high, scale) {
    const half = replay.lane_width / 2, step = scale > 5 ? 10 : 50;
    pen.fillStyle = palette.road;
    pen.fillRect(left, -half, right - left, 2 * half);
    const guides = episode.edges.length ? [] : [-half, half];
    for (const y of guides) line(pen, [[Math.floor(left / 12) * 12, y], [right, y]], palette.mark, 0.15, [4, 8]);
    for (const edge of episode.edges) line(pen, edge, palette.mark, 0.15);
    pen.fillStyle = palette.faint;
    for (let x = Math.ceil(left / step) * step; x < right; x += step) {
      line(pen, [[x, low], [x, low + 6 / scale]], palette.mark, 1 / scale);
      pen.save();
      pen.translate(x, low + 10 / scale);
      pen.scale(1 / scale, -1 / scale);
      pen.font = "11px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.fillText(`${x} m`, 0, 0);
      pen.restore();
    }
  }

  function drawScene() {
    const { pen, width, height } = fit(scene), scale = Number(zoom.value), e = episode;
    const ego = { x: e.x[frame], y: e.y[frame], angle: e.angle[frame] };
    const anchor = width * (Math.abs(Math.cos(ego.angle)) > 0.7 ? 0.3 : 0.5);
    pen.translate(anchor, height / 2);
    pen.scale(scale, -scale);
    pen.translate(-ego.x, 0);
    ground(pen, ego.x - anchor / scale, ego.x + (width - anchor) / scale, -height / 2 / scale + 34 / scale, height / 2 / scale, scale);
    line(pen, e.x.slice(0, frame + 1).map((x, i) => [x, e.y[i]]), palette.accent, 0.18, [0.6, 0.9]);
    const [gap, ttc] = [e.gap[frame], e.ttc[frame]], danger = ttc !== null && ttc <= replay.ttc_threshold;
    if (gap !== null && gap > 0) {
      const front = ego.x + replay.ego.length / 2;
      line(pen, [[front, ego.y], [front + gap, ego.y]], danger ? palette.danger : palette.mark, 0.3);
    }
    for (const other of e.others) {
      const at = placeOf(other, frame);
      if (at) body(pen, at, replay.sizes[other.kind], palette[other.kind]);
    }
    body(pen, ego, replay.ego, danger ? palette.danger : palette.accent);
    if (e.collision && frame === e.time.length - 1) {
      pen.strokeStyle = palette.danger;
      pen.lineWidth = 0.35;
      pen.beginPath();
      pen.arc(ego.x, ego.y, 4.2, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  // --- plots ----------------------------------------------------------------------------------------------------------

  const EDGE = { left: 34, right: 10, top: 8, bottom: 20 };

  function axes(canvas, low, high) {
    const { pen, width, height } = fit(canvas), t = episode.time, end = t[t.length - 1] || 1;
    const x = (time) => EDGE.left + (time - t[0]) / Math.max(end - t[0], 1e-9) * (width - EDGE.left - EDGE.right);
    const y = (value) => EDGE.top + (high - value) / (high - low) * (height - EDGE.top - EDGE.bottom);
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = palette.faint;
    const nice = (span) => [0.5, 1, 2, 5, 10, 20, 50, 100].find((step) => span / step <= 5) || 200;
    pen.textAlign = "right";
    for (let v = Math.ceil(low / nice(high - low)) * nice(high - low); v <= high + 1e-9; v += nice(high - low)) {
      line(pen, [[EDGE.left, y(v)], [width - EDGE.right, y(v)]], palette.line, 1);
      pen.fillText(String(Math.round(v * 10) / 10), EDGE.left - 5, y(v) + 4);
    }
    pen.textAlign = "center";
    for (let v = Math.ceil(t[0]); v <= end + 1e-9; v += Math.max(1, nice(end - t[0]))) pen.fillText(`${v} s`, x(v), height - 5);
    return { pen, width, height, x, y };
  }

  function curve({ pen, x, y }, values, stroke, most = Infinity) {
    pen.strokeStyle = stroke;
    pen.lineWidth = 1.8;
    pen.beginPath();
    let drawing = false;
    values.forEach((value, i) => {
      if (value === null || value > most) { drawing = false; return; }
      if (drawing) pen.lineTo(x(episode.time[i]), y(value)); else pen.moveTo(x(episode.time[i]), y(value));
      drawing = true;
    });
    pen.stroke();
  }

  function cursor({ pen, x, height }) {
    line(pen, [[x(episode.time[frame]), EDGE.top], [x(episode.time[frame]), height - EDGE.bottom]], palette.text, 1);
  }

  function drawPlots() {
    const first = axes($("ttc-plot"), 0, LONGEST), limit = replay.ttc_threshold;
    first.pen.globalAlpha = 0.1;
    first.pen.fillStyle = palette.danger;
    first.pen.fillRect(EDGE.left, first.y(limit), first.width - EDGE.left - EDGE.right, first.y(0) - first.y(limit));
    first.pen.globalAlpha = 1;
    line(first.pen, [[EDGE.left, first.y(limit)], [first.width - EDGE.right, first.y(limit)]], palette.danger, 1, [5, 4]);
    first.pen.fillStyle = palette.danger;
    first.pen.textAlign = "right";
    first.pen.fillText(`${limit} s`, first.width - EDGE.right - 4, first.y(limit) - 4);
    curve(first, episode.ttc, palette.accent, LONGEST);
    cursor(first);
    const kmh = episode.speed.map((v) => v * 3.6), lowest = Math.min(0, ...episode.acceleration), highest = Math.max(10, ...kmh);
    const second = axes($("speed-plot"), Math.floor(lowest), Math.ceil(highest * 1.05));
    curve(second, kmh, palette.accent);
    curve(second, episode.acceleration, palette.lorry);
    cursor(second);
  }

  // --- what is chosen -------------------------------------------------------------------------------------------------

  const said = (value, unit, digits = 1) => (value === null ? "–" : `${value.toFixed(digits)} ${unit}`);

  function draw() {
    if (!episode) return;
    const e = episode, ttc = e.ttc[frame];
    $("time").textContent = said(e.time[frame], "s", 2);
    $("speed").textContent = said(e.speed[frame] * 3.6, "km/h", 0);
    $("acceleration").textContent = said(e.acceleration[frame], "m/s²");
    $("gap").textContent = said(e.gap[frame], "m");
    $("ttc").textContent = said(ttc, "s", 2);
    $("danger").classList.toggle("now", ttc !== null && ttc <= replay.ttc_threshold);
    slider.value = String(frame);
    document.documentElement.dataset.frame = String(frame);
    drawScene();
    drawPlots();
  }

  function show(at) {
    frame = Math.max(0, Math.min(episode.time.length - 1, at));
    clock = episode.time[frame];
    draw();
  }

  function choose(at) {
    chosen = Math.max(0, Math.min(replay.episodes.length - 1, at));
    episode = replay.episodes[chosen];
    pause();
    document.documentElement.dataset.episode = episode.id;
    $("what").textContent = `${episode.family.replaceAll("-", " ")} · ${episode.id}`;
    const told = Object.entries(episode.parameters).map(([name, value]) => `${name.replaceAll("_", " ")} ${Math.round(value * 100) / 100}`);
    $("why").textContent = `${episode.why}.`;
    $("parameters").textContent = told.join(" · ");
    slider.max = String(episode.time.length - 1);
    zoom.value = String(Math.max(...episode.speed) > 17 ? 7 : 12);
    [...$("episodes").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-current", String(i === chosen)));
    $("episodes").children[chosen].scrollIntoView({ block: "nearest" });
    show(0);
  }

  function pause() {
    playing = false;
    play.textContent = "▶";
    play.setAttribute("aria-label", "play");
  }

  function toggle() {
    if (playing) { pause(); return; }
    if (frame === episode.time.length - 1) show(0);
    playing = true;
    before = performance.now();
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "pause");
    requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    clock += (now - before) / 1000 * Number($("pace").value);
    before = now;
    let next = frame;
    while (next < episode.time.length - 1 && episode.time[next + 1] <= clock) next += 1;
    if (next !== frame) { frame = next; draw(); }
    if (frame === episode.time.length - 1) pause(); else requestAnimationFrame(tick);
  }

  function list() {
    replay.episodes.forEach((e, i) => {
      const item = document.createElement("li"), button = document.createElement("button"), head = document.createElement("b");
      const id = document.createElement("span"), why = document.createElement("small");
      head.textContent = e.family.replaceAll("-", " ");
      id.textContent = e.id;
      why.textContent = e.why;
      button.type = "button";
      button.classList.toggle("hit", e.collision !== null);
      button.addEventListener("click", () => choose(i));
      head.append(id);
      button.append(head, why);
      item.append(button);
      $("episodes").append(item);
    });
  }

  const KEYS = {
    " ": toggle, ArrowLeft: () => { pause(); show(frame - 1); }, ArrowRight: () => { pause(); show(frame + 1); },
    ArrowUp: () => choose(chosen - 1), ArrowDown: () => choose(chosen + 1),
    Home: () => { pause(); show(0); }, End: () => { pause(); show(episode.time.length - 1); },
    "+": () => { zoom.value = String(Number(zoom.value) + 1); draw(); }, "-": () => { zoom.value = String(Number(zoom.value) - 1); draw(); },
  };

  list();
  if (!replay.episodes.length) { $("what").textContent = "There is nothing to look at: no episode was recorded."; return; }
  play.addEventListener("click", toggle);
  $("back").addEventListener("click", KEYS.ArrowLeft);
  $("forth").addEventListener("click", KEYS.ArrowRight);
  slider.addEventListener("input", () => { pause(); show(Number(slider.value)); });
  zoom.addEventListener("input", draw);
  for (const id of ["ttc-plot", "speed-plot"]) {
    $(id).addEventListener("click", (event) => {
      const { left, width } = event.currentTarget.getBoundingClientRect(), t = episode.time;
      const at = t[0] + (event.clientX - left - EDGE.left) / (width - EDGE.left - EDGE.right) * (t[t.length - 1] - t[0]);
      pause();
      show(t.findLastIndex((time) => time <= at));
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target instanceof HTMLSelectElement || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  new ResizeObserver(draw).observe(document.body);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  choose(0);
  repaint();
  if (!reduced) toggle();
})();
