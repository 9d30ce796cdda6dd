// Upload a file with a progress bar, then show the page of the object that it belongs to.
// The form has the address of the file, or the address that creates the object first.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.portal-upload");
  if (!form) return;
  const input = form.querySelector("input[type=file]");
  const progressBar = form.querySelector("progress");
  const status = form.querySelector("[role=status]");
  const button = form.querySelector("button[type=submit]");
  const cancel = form.querySelector("[data-stop]");
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const maxSize = Number(form.dataset.maxSize);
  const inMegabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  let request = null;
  // Unfold would look for a text field beside the input.
  form.addEventListener("change", (event) => event.stopPropagation(), true);

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

  async function address() {
    if (form.dataset.address) return form.dataset.address;
    const response = await fetch(form.dataset.create, { method: "POST", body: new FormData(form) });
    if (!response.ok || response.redirected) throw new Error(`status ${response.status}`);
    form.dataset.address = (await response.json()).upload;
    return form.dataset.address;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || request) return;
    if (file.size > maxSize) {
      showStatus(`The file has ${inMegabytes(file.size)}. The maximum is ${inMegabytes(maxSize)}.`, true);
      return;
    }
    request = new XMLHttpRequest();
    try {
      request.open("PUT", await address());
    } catch {
      finish("The server does not accept the upload. Reload the page and try again.");
      return;
    }
    request.setRequestHeader("X-CSRFToken", token);
    request.setRequestHeader("X-File-Name", encodeURIComponent(file.name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => {
      progressBar.value = (100 * event.loaded) / (event.total || file.size);
      showStatus(`${inMegabytes(event.loaded)} of ${inMegabytes(file.size)}`);
    };
    request.upload.onload = () => showStatus("The file is uploaded. It is being checked.");
    request.onload = () => {
      if (request.status === 200) {
        const page = JSON.parse(request.responseText).page;
        if (page && page !== location.pathname) location.assign(page);
        else location.reload();
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
