// The parts of the page that need no answer from the server.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.page = {
  // Notes the pressed button in the browser. If the server had to do it, the table could be redrawn before the answer
  // (it is, every two seconds), and Dash would drop the request and the press.
  row(_clicks) {
    const { triggered, triggered_id: id } = window.dash_clientside.callback_context;
    // Buttons that have just appeared trigger this too, without a press.
    return triggered.some(({ value }) => value) ? id.number : window.dash_clientside.no_update;
  },

  action(_scale, _others, size) {
    const { triggered, triggered_id: id } = window.dash_clientside.callback_context;
    if (!triggered.some(({ value }) => value)) return window.dash_clientside.no_update;
    const action = id === "scale" ? { what: "scale", size } : { what: id.what, worker: id.worker };
    // The time makes a second press of the same button a new value.
    return { ...action, at: Date.now() };
  },
};

// A page outlives its server and would continue to show the run as running. Dash's callbacks cannot notice: it sends at
// most a dozen, and waits forever for a server that has stopped.
setInterval(async () => {
  let lost = true;
  try {
    lost = !(await fetch("answering", { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    // There is no server, or it does not answer.
  }
  document.documentElement.toggleAttribute("data-lost", lost);
}, 5000);
