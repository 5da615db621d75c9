// The timeline of one video on a canvas: an overview, a ruler, and for each class the instances
// (dark) above the detections. It is independent of the page, which says what to show and receives
// clicks by callbacks.

const LANE = 12, TRUTH = 14, GAP = 3, OVERVIEW = 24, RULER = 22, MOST_LANES = 6, WIDE = 620;
const GUTTER = 150;

/** Returns the colour of a CSS variable in the current colour scheme. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function clock(seconds, digits = 1) {
  const whole = Math.max(0, Number(seconds.toFixed(digits)));
  const rest = (whole % 60).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
  const minutes = Math.floor(whole / 60);
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

class Timeline {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} callbacks {seek(seconds), choose(row), point(row, x, y)}; point(null): nothing.
   */
  constructor(canvas, callbacks) {
    this.canvas = canvas;
    this.callbacks = callbacks;
    this.boxes = [];
    this.groups = [];
    this.time = 0;
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event));
    canvas.addEventListener("pointercancel", () => { this.pressed = null; });
    canvas.addEventListener("pointerleave", () => this.callbacks.point(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
  }

  /**
   * @param {object} video {end, instances: [class, start, end], …} and the detections in columns,
   *   best first: label, start, stop.
   * @param {string[]} labels Names of the classes.
   */
  show(video, labels) {
    this.video = video;
    this.chosen = null;
    this.time = 0;
    this.from = 0;
    this.to = video.end;
    const groups = new Map();
    const group = (label) => {
      if (!groups.has(label)) groups.set(label, { label, instances: [], rows: [], lanes: [] });
      return groups.get(label);
    };
    this.ambiguous = [];
    for (const [label, start, end] of video.instances || []) {
      if (label < 0) this.ambiguous.push([start, end]);
      else group(label).instances.push([start, end]);
    }
    const taken = new Map();
    for (let row = 0; row < video.label.length; row++) {
      const label = video.label[row];
      if (!taken.has(label)) taken.set(label, []);
      const found = group(label);
      found.rows.push(row);
      found.lanes.push(firstLane(taken.get(label), video.start[row], video.stop[row]));
    }
    this.groups = [...groups.values()].sort((a, b) => a.label - b.label);
    for (const each of this.groups) each.name = labels[each.label];
  }

  /**
   * @param {(row: number) => boolean} shown Whether a detection is shown.
   * @param {(row: number) => string} tint Colour of a detection.
   * @param {number} only Index of the only class to show, or -1 for all.
   */
  filter(shown, tint, only) {
    this.shown = shown;
    this.tint = tint;
    this.only = only;
    this.draw();
  }

  /** Moves the line at the current time, and scrolls to it if it is out of view. */
  at(time) {
    this.time = time;
    if (time < this.from || time > this.to) this.#view(time, time + this.to - this.from);
    this.draw();
  }

  /** Marks a detection and scrolls to it. */
  choose(row) {
    this.chosen = row;
    if (row !== null) {
      const { start, stop } = this.video;
      if (stop[row] <= this.from || start[row] >= this.to) {
        const middle = (start[row] + stop[row]) / 2, half = (this.to - this.from) / 2;
        this.#view(middle - half, middle + half);
      }
    }
    this.draw();
  }

  zoom(factor, around = this.time) {
    const least = Math.min(1, this.video.end);
    const span = Math.min(this.video.end, Math.max(least, (this.to - this.from) / factor));
    const middle = around >= this.from && around <= this.to ? around : (this.from + this.to) / 2;
    const share = (middle - this.from) / (this.to - this.from);
    this.#view(middle - share * span, middle + (1 - share) * span);
    this.draw();
  }

  fit() {
    this.#view(0, this.video.end);
    this.draw();
  }

  draw() {
    if (!this.video || !this.shown || this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  #view(from, to) {
    const span = Math.min(to - from, this.video.end);
    this.from = Math.min(Math.max(0, from), this.video.end - span);
    this.to = this.from + span;
  }

  #x(seconds) {
    return this.left + ((seconds - this.from) / (this.to - this.from)) * (this.width - this.left);
  }

  #seconds(x) {
    return this.from + ((x - this.left) / (this.width - this.left)) * (this.to - this.from);
  }

  #draw() {
    const width = this.canvas.parentElement.clientWidth;
    if (!width) return;
    const wide = width >= WIDE;
    this.width = width;
    this.left = wide ? GUTTER : 0;
    const groups = [];
    let height = OVERVIEW + RULER;
    for (const group of this.groups) {
      if (this.only >= 0 && group.label !== this.only) continue;
      const rows = [];
      let lanes = 0;
      group.rows.forEach((row, n) => {
        if (!this.shown(row)) return;
        rows.push([row, group.lanes[n]]);
        lanes = Math.max(lanes, group.lanes[n] + 1);
      });
      if (!rows.length && !group.instances.length) continue;
      const top = height + GAP + (wide ? 0 : 17);
      const first = top + (group.instances.length ? TRUTH + GAP : 0);
      height = Math.max(first + lanes * (LANE + 2), top + 17) + GAP;
      groups.push({ ...group, rows, top, first, height });
    }
    if (!groups.length) height += 40;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const ink = colour("ink"), muted = colour("muted"), line = colour("line");
    pen.textBaseline = "middle";
    this.#overview(pen, groups, ink, line);
    pen.font = "12px system-ui, sans-serif";
    this.#ruler(pen, height, muted, line);
    this.boxes = [];
    if (!groups.length) {
      pen.fillStyle = muted;
      pen.fillText("nothing to show at these settings", this.left + 8, OVERVIEW + RULER + 20);
    }
    for (const [start, end] of this.ambiguous) {
      pen.fillStyle = colour("unclear");
      pen.fillRect(this.#x(start), OVERVIEW + RULER, this.#x(end) - this.#x(start), height);
    }
    for (const group of groups) {
      pen.strokeStyle = line;
      pen.beginPath();
      pen.moveTo(0, group.height + 0.5);
      pen.lineTo(width, group.height + 0.5);
      pen.stroke();
      for (const [start, end] of group.instances) {
        this.#bar(pen, start, end, group.top, TRUTH, ink);
      }
      for (const [row, lane] of group.rows) {
        this.#detection(pen, row, group.first + lane * (LANE + 2));
      }
      pen.font = "600 12px system-ui, sans-serif";
      pen.fillStyle = colour("card");
      if (wide) pen.fillRect(0, group.top - GAP + 1, this.left - 6, group.height - group.top);
      pen.fillStyle = ink;
      pen.fillText(clipped(pen, group.name, wide ? this.left - 12 : width), 0,
        wide ? group.top + 8 : group.top - 9);
    }
    const x = this.#x(this.time);
    if (x >= this.left - 1 && x <= width + 1) {
      pen.fillStyle = colour("accent");
      pen.fillRect(x - 1, OVERVIEW, 2, height - OVERVIEW);
      pen.beginPath();
      pen.moveTo(x - 6, OVERVIEW);
      pen.lineTo(x + 6, OVERVIEW);
      pen.lineTo(x, OVERVIEW + 8);
      pen.fill();
    }
  }

  /** Draws a bar, clipped at the gutter, wide enough to see; returns left and right, or null. */
  #bar(pen, start, end, top, height, fill) {
    const left = Math.max(this.left, this.#x(start));
    const right = Math.min(this.width, Math.max(this.#x(end), this.#x(start) + 2));
    if (right <= left) return null;
    pen.fillStyle = fill;
    pen.beginPath();
    pen.roundRect(left, top, right - left, height, Math.min(3, (right - left) / 2));
    pen.fill();
    return [left, right];
  }

  #detection(pen, row, top) {
    const { start, stop, score } = this.video;
    const place = this.#bar(pen, start[row], stop[row], top, LANE, this.tint(row));
    if (!place) return;
    const [left, right] = place;
    this.boxes.push({ row, left, right, top, bottom: top + LANE + 2 });
    if (right - left > 40) {
      pen.font = "10px system-ui, sans-serif";
      pen.fillStyle = "#101418";
      pen.fillText(shortScore(score[row]), left + 4, top + LANE / 2 + 0.5);
    }
    if (row === this.chosen) {
      pen.strokeStyle = colour("accent");
      pen.lineWidth = 2;
      pen.strokeRect(left - 1, top - 1, right - left + 2, LANE + 2);
      pen.lineWidth = 1;
    }
  }

  #overview(pen, groups, ink, line) {
    const all = (seconds) => this.left + (seconds / this.video.end) * (this.width - this.left);
    pen.fillStyle = colour("sunk");
    pen.fillRect(this.left, 0, this.width - this.left, OVERVIEW - 4);
    for (const group of groups) {
      for (const [start, end] of group.instances) {
        pen.fillStyle = ink;
        pen.fillRect(all(start), 2, Math.max(1, all(end) - all(start)), 7);
      }
    }
    for (const group of groups) {
      for (let n = group.rows.length - 1; n >= 0; n--) {  // the best on top
        const row = group.rows[n][0];
        pen.fillStyle = this.tint(row);
        const start = all(this.video.start[row]);
        pen.fillRect(start, 11, Math.max(1, all(this.video.stop[row]) - start), 7);
      }
    }
    pen.strokeStyle = colour("accent");
    pen.lineWidth = 2;
    const from = all(this.from), to = all(this.to);
    pen.strokeRect(from + 1, 1, Math.max(4, to - from - 2), OVERVIEW - 6);
    pen.lineWidth = 1;
  }

  #ruler(pen, height, muted, line) {
    const span = this.to - this.from;
    const most = Math.max(2, Math.floor((this.width - this.left) / 76));
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
    const step = steps.find((each) => span / each <= most) || Math.ceil(span / most);
    pen.font = "11px system-ui, sans-serif";
    for (let n = Math.ceil(this.from / step); n * step <= this.to; n++) {
      const x = Math.round(this.#x(n * step)) + 0.5;
      pen.strokeStyle = line;
      pen.beginPath();
      pen.moveTo(x, OVERVIEW + 14);
      pen.lineTo(x, height);
      pen.stroke();
      const text = clock(n * step, step < 1 ? 1 : 0);
      const room = pen.measureText(text).width;
      pen.fillStyle = muted;
      pen.fillText(text, Math.max(this.left, Math.min(this.width - room, x - room / 2)),
        OVERVIEW + 7);
    }
  }

  #hit(event) {
    const { x, y } = this.#place(event);
    for (let n = this.boxes.length - 1; n >= 0; n--) {
      const box = this.boxes[n];
      if (x >= box.left - 2 && x <= box.right + 2 && y >= box.top && y < box.bottom) return box.row;
    }
    return null;
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #press(event) {
    if (event.button) return;
    const { x, y } = this.#place(event);
    this.pressed = { x, from: this.from, to: this.to, overview: y < OVERVIEW, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const { x, y } = this.#place(event);
    const pressed = this.pressed;
    if (!pressed) {
      const row = this.#hit(event);
      this.canvas.style.cursor = row === null ? "" : "pointer";
      this.callbacks.point(row, x, y);
      return;
    }
    pressed.moved ||= Math.abs(x - pressed.x) > 4;
    if (!pressed.moved) return;
    const width = this.width - this.left;
    const span = pressed.to - pressed.from;
    const shift = pressed.overview
      ? ((x - pressed.x) / width) * this.video.end
      : ((pressed.x - x) / width) * span;
    this.#view(pressed.from + shift, pressed.to + shift);
    this.draw();
  }

  #release(event) {
    const pressed = this.pressed;
    this.pressed = null;
    if (!pressed || pressed.moved) return;
    const { x } = this.#place(event);
    if (pressed.overview) {
      const seconds = ((x - this.left) / (this.width - this.left)) * this.video.end;
      const half = (this.to - this.from) / 2;
      this.#view(seconds - half, seconds + half);
      this.callbacks.seek(Math.min(this.video.end, Math.max(0, seconds)));
      return;
    }
    const row = this.#hit(event);
    if (row !== null) this.callbacks.choose(row);
    else if (x >= this.left) this.callbacks.seek(Math.max(0, this.#seconds(x)));
  }

  #wheel(event) {
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 300), this.#seconds(this.#place(event).x));
    } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      event.preventDefault();
      const shift = (sideways / (this.width - this.left)) * (this.to - this.from);
      this.#view(this.from + shift, this.to + shift);
      this.draw();
    }
  }
}

/** Adds a span to the first lane where it overlaps no other, or to the last; returns the lane. */
function firstLane(lanes, start, end) {
  for (let number = 0; ; number++) {
    if (!lanes[number]) lanes[number] = [];
    const lane = lanes[number];
    let low = 0, high = lane.length;  // spans of a lane do not overlap and are sorted by start
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lane[middle][0] < start) low = middle + 1;
      else high = middle;
    }
    const after = !low || lane[low - 1][1] <= start;
    const free = after && (low === lane.length || end <= lane[low][0]);
    if (free) lane.splice(low, 0, [start, end]);
    if (free || number === MOST_LANES - 1) return number;
  }
}

function clipped(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  let length = text.length;
  while (length && pen.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return `${text.slice(0, length)}…`;
}

function shortScore(score) {
  const size = Math.abs(score);
  if (!size) return "0";
  return size < 0.001 || size >= 1e5 ? score.toExponential(1) : score.toFixed(size < 10 ? 3 : 1);
}
