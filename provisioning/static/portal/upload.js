// A package's file goes up with a bar that says how far it is; then the page looks anew.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("package-upload");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const bar = form.querySelector("progress");
  const word = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const stop = document.getElementById("package-stop");
  const largest = Number(form.dataset.largest);
  const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  let going = null;

  function say(sentence, isBad) {
    word.textContent = sentence;
    word.className = isBad ? "portal-fault" : "portal-empty";
  }

  function end(sentence) {
    going = null;
    bar.hidden = stop.hidden = true;
    button.disabled = input.disabled = false;
    say(sentence, true);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || going) return;
    if (file.size > largest) {
      say(`The file has ${inMegabytes(file.size)}: at most ${inMegabytes(largest)}.`, true);
      return;
    }
    going = new XMLHttpRequest();
    going.open("PUT", form.dataset.address);
    going.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]").value);
    going.setRequestHeader("Content-Type", "application/octet-stream");
    going.upload.onprogress = (at) => {
      bar.value = (100 * at.loaded) / (at.total || file.size);
      say(`${inMegabytes(at.loaded)} of ${inMegabytes(file.size)}`);
    };
    going.upload.onload = () => say("It has come: it is looked into and signed.");
    going.onload = () => {
      if (going.status === 200) {
        location.reload();
        return;
      }
      let told = "The server did not take it.";
      try {
        const said = JSON.parse(going.responseText);
        told = said.error || said.errors[0].detail;
      } catch { /* no JSON */ }
      end(told);
    };
    going.onerror = () => end("The connection broke: nothing of it was kept. Try again.");
    going.onabort = () => end("Stopped: nothing of it was kept.");
    bar.value = 0;
    bar.hidden = stop.hidden = false;
    button.disabled = input.disabled = true;
    going.send(file);
  });
  stop.addEventListener("click", () => { if (going) going.abort(); });
});
