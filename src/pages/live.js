"use strict";
// Looks again and puts the new content in place, unless someone reads or selects in the old one just now.
const look = async () => {
  const main = document.querySelector("main");
  if (!document.hidden && getSelection().isCollapsed && !main.contains(document.activeElement)) {
    const stale = document.querySelector(".stale");
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.querySelector("main");
      stale.hidden = next !== null;
      if (next) main.replaceWith(next);
    } catch {
      stale.hidden = false;
    }
  }
  wait();
};
const wait = () => setTimeout(look, 1000 * document.querySelector("main").dataset.refresh);
wait();
