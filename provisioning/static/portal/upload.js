// Upload a package file with a progress bar, then reload the page.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("package-upload");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const bar = form.querySelector("progress");
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const stop = document.getElementById("package-stop");
  const maxSize = Number(form.dataset.largest);
  const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  let upload = null;

  function show(message, isError) {
    status.textContent = message;
    status.className = isError ? "portal-fault" : "portal-empty";
  }

  function fail(message) {
    upload = null;
    bar.hidden = stop.hidden = true;
    button.disabled = input.disabled = false;
    show(message, true);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || upload) return;
    if (file.size > maxSize) {
      show(
        `The file is too large: ${inMegabytes(file.size)}. At most ${inMegabytes(maxSize)} are allowed.`,
        true,
      );
      return;
    }
    upload = new XMLHttpRequest();
    upload.open("PUT", form.dataset.address);
    upload.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]").value);
    upload.setRequestHeader("Content-Type", "application/octet-stream");
    upload.upload.onprogress = (progress) => {
      bar.value = (100 * progress.loaded) / (progress.total || file.size);
      show(`${inMegabytes(progress.loaded)} of ${inMegabytes(file.size)}`);
    };
    upload.upload.onload = () => show("Upload complete. The file is being checked and signed.");
    upload.onload = () => {
      if (upload.status === 200) {
        location.reload();
        return;
      }
      let message = "The server rejected the file.";
      try {
        const body = JSON.parse(upload.responseText);
        message = body.error || body.errors[0].detail;
      } catch { /* the body is not JSON */ }
      fail(message);
    };
    upload.onerror = () => fail("The connection was lost. Nothing was stored. Try again.");
    upload.onabort = () => fail("The upload was cancelled. Nothing was stored.");
    bar.value = 0;
    bar.hidden = stop.hidden = false;
    button.disabled = input.disabled = true;
    upload.send(file);
  });
  stop.addEventListener("click", () => { if (upload) upload.abort(); });
});
