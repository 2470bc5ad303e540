// Shows new messages as they come, and throws all away when asked. The pages work without it.
"use strict";

const letters = document.getElementById("letters");

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["letters", "tabs"]) {
      const [shown, news] = [document.getElementById(id), fresh.getElementById(id)];
      if (news && shown.innerHTML !== news.innerHTML) shown.innerHTML = news.innerHTML;
    }
  } catch {
    // The daemon is away: what is shown stays until it is back.
  }
}

if ("live" in letters.dataset) setInterval(refresh, 2000);

const clear = document.getElementById("clear");
clear.hidden = false;
clear.addEventListener("click", async () => {
  await fetch("/sandbox/messages", { method: "DELETE" });
  location.assign("/sandbox");
});
