/* A page opened by double click may not start a worker, so there the search runs in a hidden frame instead. */
if (location.protocol === "file:") {
  window.IFrameWorker = window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = `<script>window.postMessage = (data) => parent.dispatchEvent(
        new MessageEvent("message", { data, source: window }))</` + `script><script src="${url}"></` + `script>`;
      this.ready = new Promise((loaded) => { frame.onload = () => loaded(frame.contentWindow); });
      addEventListener("message", (event) => {
        if (event.source === frame.contentWindow) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      document.body.append(frame);
    }
    postMessage(data) {
      this.ready.then((page) => page.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
