// Keeps the overview current. Without it the page shows the state when it was loaded.
"use strict";
(() => {
  const EVERY = 10000;
  const live = document.getElementById("live");
  const note = document.getElementById("refreshed");
  if (!live || !note) return;
  // A table that somebody has opened and a link that has the focus stay.
  const isInUse = () =>
    live.contains(document.activeElement) || live.querySelector("details[open]");
  const refresh = async () => {
    if (document.hidden || isInUse()) return;
    try {
      const response = await fetch("/", { headers: { Accept: "text/html" } });
      // The session has ended.
      if (response.redirected) return location.reload();
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      const fresh = page.getElementById("live");
      if (!fresh) throw new Error("no overview");
      if (isInUse()) return;
      live.replaceChildren(...fresh.childNodes);
      note.textContent = "Refreshes every 10 seconds.";
    } catch {
      note.textContent = "Not current: sixgate does not answer.";
    }
  };
  note.textContent = "Refreshes every 10 seconds.";
  setInterval(refresh, EVERY);
})();
