// Two small screens, the dream and reality, and the keys. The kernel makes every step; this draws, at most RATE a second.
const RATE = 20, PATIENCE = 3000, SCALE = 9;
const HELP = "Click the dream, then ← and → to push, Space to look at reality, Enter for a new game. It stops while you are elsewhere.";
const SILENCE = "No answer yet: another cell is at work. (If none is, the kernel has stopped: run this cell again.)";

function render({ model, el }) {
  const make = (tag, parent, properties = {}) => parent.appendChild(Object.assign(document.createElement(tag), properties));
  const box = make("div", el, { className: "wm-play", tabIndex: 0 });
  box.setAttribute("data-lm-suppress-shortcuts", "true"); // the arrow keys are the game's, not the notebook's
  box.setAttribute("role", "application");
  box.setAttribute("aria-label", "A game inside the dream. " + HELP);
  const screens = make("div", box, { className: "wm-screens" });
  const views = ["dream", "reality"].map((name) => {
    const figure = make("figure", screens);
    const title = make("figcaption", figure, { textContent: name });
    const canvas = make("canvas", figure, { width: 32, height: 32 });
    canvas.style.width = canvas.style.height = 32 * SCALE + "px";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    return { title, canvas };
  });
  const buttons = make("div", box, { className: "wm-keys" });
  const news = make("div", box, { className: "wm-news", textContent: HELP });
  news.setAttribute("role", "status");
  news.setAttribute("aria-live", "polite");
  const numbers = make("div", box, { className: "wm-numbers" });

  const held = new Set();
  let playing = false, over = false, waiting = 0, due = 0, timer = 0, ticks = [];

  function say(words) { if (news.textContent !== words) news.textContent = words; }

  function send(kind) {
    waiting = performance.now();
    model.send({ kind, push: Number(held.has("ArrowRight")) - Number(held.has("ArrowLeft")) });
  }

  function tick() {
    timer = requestAnimationFrame(tick);
    const now = performance.now();
    if (waiting && now - waiting < PATIENCE) return; // one question at a time: nothing queues up in a slow kernel
    if (waiting) say(SILENCE);
    step(now);
  }

  function step(now) { // as soon as the last answer is there and its time has come
    if (playing && !over && now >= due) { due = Math.max(due + 1000 / RATE, now); send("step"); }
  }

  function play() { if (!playing) { playing = true; due = performance.now(); say("Go."); } }
  function rest() { held.clear(); if (playing && !over) say("It rests. " + HELP); playing = false; ticks = []; }

  function act(key) {
    if (key === "Enter") { over = false; playing = false; play(); send("new"); }
    else if (key === " ") { if (!over) { play(); send("look"); } }
    else if (!over) { held.add(key); play(); }
  }

  box.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight", " ", "Enter"].includes(event.key) || event.target.tagName === "BUTTON") return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) act(event.key);
  });
  box.addEventListener("keyup", (event) => held.delete(event.key));
  box.addEventListener("blur", (event) => { if (!box.contains(event.relatedTarget)) rest(); }, true);
  views[0].canvas.addEventListener("pointerdown", () => { box.focus(); if (!over) play(); });
  for (const [words, key] of [["◀ push left", "ArrowLeft"], ["push right ▶", "ArrowRight"], ["look at reality", " "], ["new game", "Enter"]]) {
    const button = make("button", buttons, { textContent: words, className: "jupyter-button" });
    button.addEventListener("pointerdown", () => act(key)); // held down: pushes go on
    for (const end of ["pointerup", "pointerleave", "blur"]) button.addEventListener(end, () => held.delete(key));
    button.addEventListener("keydown", (event) => { if (["Enter", " "].includes(event.key) && !event.repeat) act(key); });
    button.addEventListener("keyup", () => held.delete(key));
  }

  function paint(view, pixels, title, faded) {
    const context = view.canvas.getContext("2d");
    const image = context.createImageData(32, 32);
    for (let i = 0; i < 1024; i++) {
      image.data.fill(pixels[i], 4 * i, 4 * i + 3);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    view.canvas.style.opacity = faded ? 0.35 : 1;
    view.title.textContent = title;
  }

  function answer(message, buffers) {
    waiting = 0;
    const now = performance.now();
    ticks = [...ticks.filter((t) => now - t < 2000), now];
    message.titles.forEach((title, i) => {
      const { buffer, byteOffset } = buffers[i];
      paint(views[i], new Uint8Array(buffer ?? buffers[i], byteOffset ?? 0, 1024), title, message.ended[i]);
    });
    const fps = ticks.length > 1 ? (1000 * (ticks.length - 1)) / (now - ticks[0]) : 0;
    box.dataset.fps = fps.toFixed(1);
    numbers.textContent = message.numbers + (playing && fps ? `; ${fps.toFixed(0)} frames a second` : "");
    if (message.news) say(message.news);
    else if (news.textContent === SILENCE) say(playing ? "Go." : HELP); // it came late, but it came
    over = message.over;
    step(performance.now());
  }

  model.on("msg:custom", answer);
  send("show");
  tick();
  return () => { cancelAnimationFrame(timer); model.off("msg:custom", answer); };
}

export default { render };
