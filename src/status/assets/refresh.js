// Keeps the overview current. Without it the page shows what was so when it was loaded.
"use strict";
(() => {
  const EVERY = 10000;
  const live = document.getElementById("live");
  const note = document.getElementById("refreshed");
  if (!live || !note) return;
  const refresh = async () => {
    if (document.hidden) return;
    // A table that somebody has opened, a link that has the focus: not taken away.
    if (live.contains(document.activeElement) || live.querySelector("details[open]")) return;
    try {
      const response = await fetch("/", { headers: { Accept: "text/html" } });
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("live");
      if (!fresh) throw new Error("no overview");
      live.replaceChildren(...fresh.childNodes);
      note.textContent = "Refreshes every 10 seconds.";
    } catch {
      note.textContent = "Not current: sixgate does not answer.";
    }
  };
  note.textContent = "Refreshes every 10 seconds.";
  setInterval(refresh, EVERY);
})();
