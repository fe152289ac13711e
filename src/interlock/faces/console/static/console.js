// The console's enhancements: approvals that arrive by themselves, and clocks that run. Every page works without it.
"use strict";
(() => {
  // on a phone the navigation is wider than the screen: show where one is
  const current = document.querySelector("nav [aria-current]");
  if (current) current.parentElement.scrollLeft = current.offsetLeft - 24;

  const news = document.getElementById("news");
  const say = (text) => { if (news) { news.textContent = ""; setTimeout(() => { news.textContent = text; }, 50); } };

  // --- time left: counted down from what the server said, by this machine's monotonic clock
  const begun = new WeakMap();
  const spell = (seconds) => {
    for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
    }
    return `${Math.max(0, Math.floor(seconds))} s`;
  };
  setInterval(() => {
    for (const clock of document.querySelectorAll("[data-left]")) {
      if (!begun.has(clock)) begun.set(clock, performance.now());
      const text = spell(Number(clock.dataset.left) - (performance.now() - begun.get(clock)) / 1000);
      if (clock.textContent !== text) clock.textContent = text;
    }
  }, 1000);

  // --- after an answer, the card that took its place has the focus, and says what it is now
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const answered = event.detail.requestConfig && event.detail.requestConfig.verb === "post";
    const card = answered && event.detail.pathInfo && document.getElementById(event.detail.pathInfo.requestPath.split("/")[2]);
    if (!card) return;
    const wrong = card.querySelector("[role=alert]");
    card.focus();
    if (!wrong) say(card.dataset.said);
  });

  // --- what waits, live
  const cards = document.querySelector("[data-live]");
  if (!cards || !window.EventSource) return;
  const busy = (card) => card.contains(document.activeElement) && card !== document.activeElement
    || [...card.querySelectorAll("textarea")].some((area) => area.value !== area.defaultValue);
  const fetchCard = (id, target, swap) =>
    htmx.ajax("GET", `/approvals/${encodeURIComponent(id)}`, { target, swap });

  const show = async ({ total, waiting }) => {
    const count = document.getElementById("total");
    count.textContent = total ? `${total} ${total === 1 ? "call waits" : "calls wait"}` : "Nothing waits";
    document.title = `${total || "No"} waiting · Approvals · Interlock`;
    document.getElementById("nothing").hidden = total > 0 || cards.children.length > 0;
    const marks = new Map(waiting);
    for (const card of [...cards.children]) {
      const gone = !marks.has(card.id) && card.classList.contains("stands-waiting");
      const changed = marks.has(card.id) && marks.get(card.id) !== card.dataset.mark;
      if ((gone || changed) && !busy(card)) await fetchCard(card.id, card, "outerHTML");
    }
    for (const [id] of [...waiting].reverse()) {  // the oldest of the new ones first, so that the newest ends on top
      if (document.getElementById(id)) continue;
      await fetchCard(id, cards, "afterbegin");
      const card = document.getElementById(id);
      if (card) { card.classList.add("new"); say(`New: ${card.dataset.said}`); }
    }
    document.getElementById("nothing").hidden = total > 0 || cards.children.length > 0;
  };

  let source = null;
  let chain = Promise.resolve();
  const state = document.getElementById("live-state");
  const open = () => {
    source = new EventSource(cards.dataset.live);
    source.addEventListener("open", () => { state.hidden = false; });
    source.addEventListener("error", () => { state.hidden = true; });
    source.addEventListener("waiting", (event) => {
      const told = JSON.parse(event.data);
      chain = chain.then(() => show(told)).catch(() => {});
    });
    source.addEventListener("ended", () => { source.close(); location.assign("/sign-in"); });
  };
  // a page that nobody looks at holds no connection: browsers have few of them
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source.close(); state.hidden = true; } else if (source.readyState === EventSource.CLOSED) { open(); }
  });
  open();
})();
