// Upload the file of a package with a progress bar, then reload the page.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("package-upload");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const progressBar = form.querySelector("progress");
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const cancel = document.getElementById("package-stop");
  const maxSize = Number(form.dataset.maxSize);
  const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  let request = null;

  function showStatus(message, isError) {
    status.textContent = message;
    status.className = isError ? "portal-fault" : "portal-empty";
  }

  function finish(message) {
    request = null;
    progressBar.hidden = cancel.hidden = true;
    button.disabled = input.disabled = false;
    showStatus(message, true);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || request) return;
    if (file.size > maxSize) {
      showStatus(`The file has ${inMegabytes(file.size)}. The maximum is ${inMegabytes(maxSize)}.`, true);
      return;
    }
    request = new XMLHttpRequest();
    request.open("PUT", form.dataset.address);
    request.setRequestHeader("X-CSRFToken", form.querySelector("[name=csrfmiddlewaretoken]").value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      progressBar.value = (100 * event.loaded) / (event.total || file.size);
      showStatus(`${inMegabytes(event.loaded)} of ${inMegabytes(file.size)}`);
    };
    request.upload.onload = () => showStatus("The file is uploaded. It is being checked and signed.");
    request.onload = () => {
      if (request.status === 200) {
        location.reload();
        return;
      }
      let message = "The server rejected the file.";
      try {
        const response = JSON.parse(request.responseText);
        message = response.error || response.errors[0].detail;
      } catch { /* no JSON */ }
      finish(message);
    };
    request.onerror = () => finish("The connection was lost. Nothing was stored. Try again.");
    request.onabort = () => finish("The upload was cancelled. Nothing was stored.");
    progressBar.value = 0;
    progressBar.hidden = cancel.hidden = false;
    button.disabled = input.disabled = true;
    request.send(file);
  });
  cancel.addEventListener("click", () => { if (request) request.abort(); });
});
