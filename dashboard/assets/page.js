// What the page knows without asking the server.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.page = {
  // Which button was pressed, at once: were it asked of the server, a table that is drawn anew meanwhile, as it is
  // every two seconds, would make Dash drop the question, and the press with it.
  row(_clicks) {
    const { triggered, triggered_id: id } = window.dash_clientside.callback_context;
    // Buttons that have just appeared were not pressed.
    return triggered.some(({ value }) => value) ? id.number : window.dash_clientside.no_update;
  },

  action(_scale, _others, size) {
    const { triggered, triggered_id: id } = window.dash_clientside.callback_context;
    if (!triggered.some(({ value }) => value)) return window.dash_clientside.no_update;
    const action = id === "scale" ? { what: "scale", size } : { what: id.what, worker: id.worker };
    // The same press twice is two presses.
    return { ...action, at: Date.now() };
  },
};

// A page outlives its server, and would go on to say that the run is under way. Not by a callback: Dash sends a dozen at
// most, and waits for ever for a server that is stopped.
setInterval(async () => {
  let lost = true;
  try {
    lost = !(await fetch("answering", { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    // Nobody listens, or nobody answers.
  }
  document.documentElement.toggleAttribute("data-lost", lost);
}, 5000);
