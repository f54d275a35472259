"use strict";
/* The script of the report: the player with its events, and figures that are saved as files.
   Everything it shows stands in the page; it asks nothing of any network, and makes no HTML. */

/* Figures: saved in the colours of paper, their numbers as the page holds them. */
(function () {
  var numbers = JSON.parse(document.getElementById("figure-data").textContent);
  var paper = getComputedStyle(document.getElementById("paper"));
  function offer(name, address) {
    var link = document.createElement("a");
    link.download = name;
    link.href = address;
    document.body.appendChild(link);
    link.click();
    link.remove();
  }
  function asAddress(kind, text) {
    var bytes = new TextEncoder().encode(text), raw = "";
    bytes.forEach(function (one) { raw += String.fromCharCode(one); });
    return "data:" + kind + ";base64," + btoa(raw);
  }
  function svgOf(figure) {
    var drawn = figure.querySelector("svg").cloneNode(true), box = drawn.viewBox.baseVal;
    drawn.setAttribute("width", box.width);
    drawn.setAttribute("height", box.height);
    drawn.setAttribute("style", "font-family: sans-serif");
    return new XMLSerializer().serializeToString(drawn).replace(/var\(--([\w-]+)\)/g, function (_, role) {
      return paper.getPropertyValue("--" + role).trim();
    });
  }
  function savePng(name, svg, width, height) {
    var image = new Image(), sheet = document.createElement("canvas"), ink = sheet.getContext("2d");
    image.onload = function () {
      sheet.width = Math.round(3 * width);
      sheet.height = Math.round(3 * height);
      ink.fillStyle = "#fff";
      ink.fillRect(0, 0, sheet.width, sheet.height);
      ink.drawImage(image, 0, 0, sheet.width, sheet.height);
      offer(name, sheet.toDataURL("image/png"));
    };
    image.src = asAddress("image/svg+xml", svg);
  }
  document.querySelectorAll("[data-save]").forEach(function (button) {
    var kind = button.dataset.save, name = button.dataset.name;
    if (kind === "csv" && numbers[name] === undefined) { button.remove(); return; }
    button.addEventListener("click", function () {
      var figure = button.closest("figure");
      if (kind === "csv") { offer(name + ".csv", asAddress("text/csv", numbers[name])); return; }
      var svg = svgOf(figure), box = figure.querySelector("svg").viewBox.baseVal;
      if (kind === "svg") { offer(name + ".svg", asAddress("image/svg+xml", svg)); return; }
      savePng(name + ".png", svg, box.width, box.height);
    });
  });
})();

(function () {
  var holder = document.getElementById("player");
  var source = document.getElementById("player-data");
  if (!holder || !source) { return; }
  var data = JSON.parse(source.textContent);
  var FIELDS = 6, TAIL = 10, PERIOD_MS = 160;
  var canvas = holder.querySelector("canvas"), pen = canvas.getContext("2d");
  var find = function (name) { return holder.querySelector("[data-part='" + name + "']"); };
  var slider = find("slider"), play = find("play"), says = find("says"), picked = find("picked");
  var chooser = find("movie"), tails = find("tails"), still = find("still"), marked = find("marks");
  var looks = {}, hidden = {}, pictures = [];
  var state = { movie: 0, at: 0, track: -1, timer: null };

  data.classes.forEach(function (one) {
    looks[one.id] = { role: one.role, mark: one.mark, label: one.name };
  });
  function movie() { return data.movies[state.movie]; }
  function colour(role) {
    return getComputedStyle(holder).getPropertyValue("--" + role).trim() || "#fff";
  }

  /* Marks of one frame as objects; those of a track over all frames that are shown. */
  function marksOf(film, k) {
    if (!film.parsed) { film.parsed = []; }
    if (!film.parsed[k]) {
      var flat = film.marks[k], found = [];
      for (var i = 0; i < flat.length; i += FIELDS) {
        found.push({ track: flat[i], id: flat[i + 1], y: flat[i + 2] / 10, x: flat[i + 3] / 10,
          score: flat[i + 4] / 10, share: flat[i + 5] });
      }
      film.parsed[k] = found;
    }
    return film.parsed[k];
  }
  function pathOf(film, track) {
    if (!film.paths) {
      film.paths = film.particles.map(function () { return []; });
      film.frames.forEach(function (_, k) {
        marksOf(film, k).forEach(function (mark) {
          film.paths[mark.track].push({ k: k, y: mark.y - film.shifts[k][0] / 10,
            x: mark.x - film.shifts[k][1] / 10, id: mark.id });
        });
      });
    }
    return film.paths[track];
  }

  /* Pictures are decoded when they are first wanted; who waits for one is told when it is there. */
  function picture(m, k, ready) {
    pictures[m] = pictures[m] || [];
    var image = pictures[m][k];
    if (!image) {
      image = pictures[m][k] = new Image();
      image.src = "data:image/jpeg;base64," + data.movies[m].images[k];
    }
    if (image.complete && image.naturalWidth) { return image; }
    if (ready) { image.addEventListener("load", ready, { once: true }); }
    return null;
  }

  var SHAPES = {
    circle: [], square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    triangle: [[0, -1.1], [1.05, 0.8], [-1.05, 0.8]], down: [[0, 1.1], [1.05, -0.8], [-1.05, -0.8]],
    diamond: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
    cross: [[-0.55, -1.1], [0, -0.55], [0.55, -1.1], [1.1, -0.55], [0.55, 0], [1.1, 0.55],
      [0.55, 1.1], [0, 0.55], [-0.55, 1.1], [-1.1, 0.55], [-0.55, 0], [-1.1, -0.55]],
    hexagon: [[-0.55, -1], [0.55, -1], [1.12, 0], [0.55, 1], [-0.55, 1], [-1.12, 0]],
    plus: [[-0.38, -1.1], [0.38, -1.1], [0.38, -0.38], [1.1, -0.38], [1.1, 0.38], [0.38, 0.38],
      [0.38, 1.1], [-0.38, 1.1], [-0.38, 0.38], [-1.1, 0.38], [-1.1, -0.38], [-0.38, -0.38]],
    dot: []
  };
  function outline(ink, x, y, size, mark) {
    ink.beginPath();
    if (!SHAPES[mark].length) {
      ink.arc(x, y, mark === "dot" ? size * 0.55 : size, 0, 2 * Math.PI);
      return;
    }
    SHAPES[mark].forEach(function (p, i) {
      ink[i ? "lineTo" : "moveTo"](x + size * p[0], y + size * p[1]);
    });
    ink.closePath();
  }

  /* Places are in pixels of the raw frame, whose first pixel has its centre at 0. Where the specimen
     is held still, the frame moves by its shift against the first one. */
  function view() {
    var film = movie(), k = state.at, scale = canvas.width / film.width;
    var dy = 0, dx = 0;
    if (still.checked) { dy = film.shifts[k][0] / 10; dx = film.shifts[k][1] / 10; }
    return { scale: scale, y: 0.5 - dy, x: 0.5 - dx, sy: film.shifts[k][0] / 10, sx: film.shifts[k][1] / 10 };
  }
  function draw() {
    var film = movie(), k = state.at, v = view(), s = v.scale;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    var image = picture(state.movie, k, draw);
    if (image) {
      pen.drawImage(image, (v.x - 0.5) * s, (v.y - 0.5) * s, film.width * s, film.height * s);
    }
    if (marked.checked) {
      drawTracks(film, k, v);
      drawMarks(film, k, v);
    }
    drawBar(film);
  }
  function drawTracks(film, k, v) {
    if (tails.value === "none") { return; }
    var here = {};
    marksOf(film, k).forEach(function (mark) { here[mark.track] = true; });
    film.particles.forEach(function (name, track) {
      if (name < 0) { return; }
      var chosen = track === state.track;
      if (!chosen && tails.value === "tail" && !here[track]) { return; }
      var path = pathOf(film, track);
      for (var i = 1; i < path.length; i += 1) {
        var a = path[i - 1], b = path[i];
        var far = tails.value === "tail" && (b.k > k || a.k < k - TAIL);
        if (hidden[b.id] || (far && !chosen)) { continue; }
        pen.beginPath();
        pen.moveTo((a.x + v.sx + v.x) * v.scale, (a.y + v.sy + v.y) * v.scale);
        pen.lineTo((b.x + v.sx + v.x) * v.scale, (b.y + v.sy + v.y) * v.scale);
        pen.globalAlpha = 0.5;
        pen.lineWidth = 3.6 * (canvas.width / 640);
        pen.strokeStyle = "#000";
        pen.stroke();
        pen.globalAlpha = tails.value === "tail" && !chosen ? Math.max(0.25, 1 - (k - b.k) / TAIL) : 0.9;
        pen.lineWidth = (chosen ? 2.6 : 1.5) * (canvas.width / 640);
        pen.strokeStyle = colour(looks[b.id].role);
        pen.stroke();
      }
    });
    pen.globalAlpha = 1;
  }
  function drawMarks(film, k, v) {
    var size = Math.max(canvas.width / 80, 5), line = canvas.width / 640;
    marksOf(film, k).forEach(function (mark) {
      if (hidden[mark.id]) { return; }
      var x = (mark.x + v.x) * v.scale, y = (mark.y + v.y) * v.scale, look = looks[mark.id];
      outline(pen, x, y, size, look.mark);
      pen.lineWidth = 3.4 * line; pen.strokeStyle = "rgba(0,0,0,.6)"; pen.stroke();
      pen.lineWidth = 1.7 * line; pen.strokeStyle = colour(look.role); pen.stroke();
      if (film.particles[mark.track] >= 0 && mark.track === state.track) {
        outline(pen, x, y, 2.1 * size, "circle");
        pen.lineWidth = 2 * line; pen.strokeStyle = "#fff"; pen.stroke();
      }
    });
  }
  function drawBar(film) {
    if (!film.bar) { return; }
    var s = canvas.width / film.width, long = film.bar[1] * s, unit = canvas.width / 100;
    var x = 3.5 * unit, y = canvas.height - 4 * unit;
    pen.fillStyle = "rgba(0,0,0,.6)";
    pen.fillRect(x - 1.5 * unit, y - 5.4 * unit, long + 3 * unit, 7.4 * unit);
    pen.fillStyle = "#fff";
    pen.fillRect(x, y, long, 0.8 * unit);
    pen.font = 3.3 * unit + "px sans-serif";
    pen.textAlign = "center";
    pen.fillText(film.bar[0], x + long / 2, y - 1.2 * unit);
  }

  function describe() {
    var film = movie(), k = state.at, time = film.times[k];
    says.textContent = "frame " + film.frames[k] + (time ? ", " + time : "");
    slider.setAttribute("aria-valuetext", says.textContent);
    canvas.setAttribute("aria-label", "Frame " + film.frames[k] + " of " + film.name + " with " +
      marksOf(film, k).length + " detections");
    var own = marksOf(film, k).filter(function (mark) { return mark.track === state.track; })[0];
    if (state.track < 0) {
      picked.textContent = "Click a mark for its class and track.";
    } else if (!own) {
      picked.textContent = "Track " + film.particles[state.track] + " was not seen in this frame.";
    } else {
      picked.textContent = wordsOf(film, own);
    }
  }
  function wordsOf(film, mark) {
    var path = pathOf(film, mark.track), words = looks[mark.id].label;
    if (mark.share >= 0) { words += " (probability " + mark.share + " %)"; }
    words += ", signal-to-noise " + mark.score.toFixed(1) + ", y " + mark.y.toFixed(1) + ", x " +
      mark.x.toFixed(1) + " px";
    if (film.particles[mark.track] < 0) { return words; }
    return words + "; track " + film.particles[mark.track] + ", frames " + film.frames[path[0].k] +
      " to " + film.frames[path[path.length - 1].k];
  }

  function show(k) {
    state.at = Math.min(movie().frames.length - 1, Math.max(0, k));
    slider.value = String(state.at);
    draw();
    describe();
  }
  function load(m) {
    state.movie = m;
    state.track = -1;
    var film = movie();
    chooser.value = String(m);
    slider.max = String(film.frames.length - 1);
    canvas.width = Math.round(Math.min(1280, Math.max(640, film.width * 2)));
    canvas.height = Math.round(canvas.width * film.height / film.width);
    show(0);
  }
  function stop() {
    if (state.timer === null) { return; }
    clearInterval(state.timer);
    state.timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play");
  }
  function start() {
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
    state.timer = setInterval(function () {
      var next = (state.at + 1) % movie().frames.length;
      if (picture(state.movie, next)) { show(next); }
    }, PERIOD_MS);
  }
  function toggle() { if (state.timer === null) { start(); } else { stop(); } }
  function step(by) { stop(); show(state.at + by); }

  play.addEventListener("click", toggle);
  find("back").addEventListener("click", function () { step(-1); });
  find("on").addEventListener("click", function () { step(1); });
  slider.addEventListener("input", function () { stop(); show(Number(slider.value)); });
  chooser.addEventListener("change", function () { stop(); load(Number(chooser.value)); });
  [tails, still, marked].forEach(function (one) { one.addEventListener("change", draw); });
  holder.querySelectorAll("[data-hides]").forEach(function (box) {
    box.addEventListener("change", function () { hidden[box.dataset.hides] = !box.checked; draw(); });
  });
  canvas.addEventListener("click", function (event) {
    var box = canvas.getBoundingClientRect(), v = view(), best = null, least = 14;
    marksOf(movie(), state.at).forEach(function (mark) {
      var x = (mark.x + v.x) * v.scale * box.width / canvas.width;
      var y = (mark.y + v.y) * v.scale * box.width / canvas.width;
      var far = Math.hypot(x - event.clientX + box.left, y - event.clientY + box.top);
      if (far < least && !hidden[mark.id]) { least = far; best = mark; }
    });
    state.track = best ? best.track : -1;
    draw();
    describe();
    if (best) { picked.textContent = wordsOf(movie(), best); }
  });
  holder.addEventListener("keydown", function (event) {
    var inside = event.target.tagName;
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    if (inside === "SELECT" || (inside === "INPUT" && event.target.type !== "range" && event.key === " ")) { return; }
    if (inside === "BUTTON" && event.key === " ") { return; }
    var act = { " ": toggle, ArrowLeft: function () { step(-1); }, ArrowRight: function () { step(1); },
      Home: function () { stop(); show(0); }, End: function () { stop(); show(movie().frames.length - 1); } }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  /* Events: buttons that go to their frame, with pictures of the frames around it, drawn when their
     list is opened. Places of events are those without drift. */
  var CROP_PX = 62, REACH_PX = 26;
  function nearest(film, frame) {
    var best = 0;
    film.frames.forEach(function (number, k) {
      if (Math.abs(number - frame) < Math.abs(film.frames[best] - frame)) { best = k; }
    });
    return best;
  }
  function crop(m, k, y, x, isEvent) {
    var film = data.movies[m], small = document.createElement("canvas"), ink = small.getContext("2d");
    var reach = Math.min(REACH_PX, film.width / 4), scale = CROP_PX / reach;
    small.width = small.height = 2 * CROP_PX;
    small.title = "frame " + film.frames[k];
    var cy = y + film.shifts[k][0] / 10 + 0.5, cx = x + film.shifts[k][1] / 10 + 0.5;
    (function paint() {
      var image = picture(m, k, paint);
      if (!image) { return; }
      ink.drawImage(image, CROP_PX - cx * scale, CROP_PX - cy * scale, film.width * scale, film.height * scale);
      marksOf(film, k).forEach(function (mark) {
        outline(ink, CROP_PX + (mark.x + 0.5 - cx) * scale, CROP_PX + (mark.y + 0.5 - cy) * scale, 13, looks[mark.id].mark);
        ink.lineWidth = 6; ink.strokeStyle = "rgba(0,0,0,.6)"; ink.stroke();
        ink.lineWidth = 3; ink.strokeStyle = colour(looks[mark.id].role); ink.stroke();
      });
      if (isEvent) { ink.strokeStyle = "#fff"; ink.lineWidth = 4; ink.strokeRect(0, 0, 2 * CROP_PX, 2 * CROP_PX); }
    })();
    return small;
  }
  function showCrops(button) {
    var about = button.dataset, m = Number(about.movie), film = data.movies[m];
    var k = nearest(film, Number(about.frame)), place = button.querySelector(".crops");
    if (place.firstChild) { return; }
    [k - 1, k, k + 1].forEach(function (one) {
      if (film.frames[one] !== undefined) {
        place.appendChild(crop(m, one, Number(about.y), Number(about.x), one === k));
      }
    });
  }
  document.querySelectorAll(".events details").forEach(function (list) {
    list.addEventListener("toggle", function () {
      if (list.open) { list.querySelectorAll(".jump").forEach(showCrops); }
    });
  });
  document.querySelectorAll(".jump").forEach(function (button) {
    button.addEventListener("click", function () {
      var about = button.dataset, m = Number(about.movie);
      stop();
      if (m !== state.movie) { load(m); }
      state.track = movie().particles.indexOf(Number(about.particle));
      show(nearest(movie(), Number(about.frame)));
      holder.scrollIntoView({ block: "start" });
      holder.focus({ preventScroll: true });
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  holder.hidden = false;
  load(0);
})();
