"use strict";
// The page works without this: it adds the filter and the order by count.
(() => {
  const form = document.getElementById("filter");
  const list = document.getElementById("kinds");
  const status = document.getElementById("status");
  const kinds = Array.from(list.querySelectorAll(":scope > .kind"));
  const texts = new Map();
  const text = (kind) => {
    if (!texts.has(kind)) texts.set(kind, kind.textContent.toLowerCase());
    return texts.get(kind);
  };
  // Seconds between one crash and the next, in base 36.
  const times = kinds.map((kind) => {
    let last = 0;
    return kind.dataset.times ? kind.dataset.times.split(" ").map((gap) => (last += parseInt(gap, 36))) : [];
  });
  const seconds = (value) => (value ? new Date(value).getTime() / 1000 : null);
  const filter = () => {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const program = form.elements.program.value;
    const sort = form.elements.kind.value;
    const since = seconds(form.elements.since.value);
    const until = seconds(form.elements.until.value);
    let shown = 0;
    kinds.forEach((kind, number) => {
      const inTime = (since === null && until === null) || times[number].some(
        (time) => (since === null || time >= since) && (until === null || time < until + 60));
      const isMeant = inTime && (!sort || kind.dataset.kind === sort) &&
        (!program || kind.dataset.programs.split("\n").includes(program)) &&
        words.every((word) => text(kind).includes(word));
      kind.hidden = !isMeant;
      shown += isMeant;
    });
    status.textContent = `${shown} of ${kinds.length} kinds of crash shown`;
  };
  const order = () => {
    const byNumber = form.elements.order.value === "number";
    const sorted = kinds.map((kind, number) => [kind, number]);
    if (byNumber) sorted.sort((a, b) => b[0].dataset.count - a[0].dataset.count || a[1] - b[1]);
    list.append(...sorted.map((pair) => pair[0]));
  };
  let waiting = 0;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  form.elements.order.addEventListener("change", order);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); order(); }));
  // A link opens the kind that it points to.
  const follow = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const kind = target && target.closest(".kind");
    if (!kind) return;
    kind.hidden = false;
    kind.open = true;
    kind.scrollIntoView();
    kind.querySelector("summary").focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#k']");
    if (link && link.hash === location.hash) follow();
  });
  form.hidden = false;
  follow();
})();
