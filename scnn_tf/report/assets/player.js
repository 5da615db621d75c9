// The video above the timeline, and the instances and detections at its current time.

let player = null, address = null;

/** Shows a player, a strip of key frames, or the reason why there is neither. */
function show(video) {
  player?.pause();
  player = null;
  if (address) URL.revokeObjectURL(address);
  address = null;
  const place = $("player");
  if (video.src) {
    const embedded = video.src.startsWith("data:");
    if (embedded) address = URL.createObjectURL(blobOf(video.src));
    const made = make("video", {
      controls: true, preload: "metadata", playsInline: true, src: address || video.src });
    made.addEventListener("error", () => {
      if (player !== made) return;
      player = null;
      place.replaceChildren(make("p", { className: "note" },
        embedded ? "This browser cannot play the video."
          : `The video cannot be played: expected it at ${decodeURIComponent(video.src)}, ` +
            "relative to this page."));
    });
    made.addEventListener("play", () => follow(made));
    for (const name of ["seeked", "timeupdate"]) {
      made.addEventListener(name, () => player === made && moved(made.currentTime));
    }
    player = made;
    place.replaceChildren(made);
  } else if (video.frames) {
    const frames = video.frames.map(([time, picture]) => {
      const image = make("img", { src: picture, alt: `at ${clock(time)}` });
      const frame = make("button", { title: `go to ${clock(time)}` }, image, clock(time));
      frame.addEventListener("click", () => seek(time));
      return frame;
    });
    place.replaceChildren(make("div", { className: "strip" }, ...frames));
  } else {
    place.replaceChildren(...(video.note ? [make("p", { className: "note" }, video.note)] : []));
  }
}

function blobOf(source) {
  const [head, body] = source.split(",");
  const bytes = Uint8Array.from(atob(body), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

function follow(made) {
  if (player !== made || made.paused) return;
  moved(made.currentTime);
  requestAnimationFrame(() => follow(made));
}

function seek(seconds) {
  if (player) player.currentTime = seconds;
  moved(seconds);
}

/** Shows the current time in the timeline, and the instances and detections at that time. */
function moved(time) {
  const video = data.videos[state.video];
  timeline.at(time);
  const within = (start, end) => start <= time && time < end;
  const chips = [make("span", { className: "time" }, clock(time))];
  for (const [label, start, end] of video.instances || []) {
    if (label >= 0 && within(start, end)) {
      chips.push(make("span", { className: "chip instance" }, data.labels[label]));
    }
  }
  let more = 0;
  for (let row = 0, end = reaching(video); row < end; row++) {
    if (!shown(video, row) || !within(video.start[row], video.stop[row])) continue;
    if (chips.length > 8) { more++; continue; }
    const text = `${data.labels[video.label[row]]} ${shortScore(video.score[row])}`;
    const chip = make("span", { className: "chip" }, text);
    chip.style.background = tint(video, row);
    chips.push(chip);
  }
  if (more) chips.push(`and ${more} more`);
  $("now").replaceChildren(...chips);
  if (video.frames) {
    const away = video.frames.map(([at]) => Math.abs(at - time));
    const nearest = away.indexOf(Math.min(...away));
    const frames = $("player").querySelectorAll(".strip button");
    frames.forEach((frame, n) => frame.classList.toggle("near", n === nearest));
  }
}
