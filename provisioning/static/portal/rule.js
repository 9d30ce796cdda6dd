// The form of a rule: the rule as a sentence, and its back-test before it is saved.
document.addEventListener("DOMContentLoaded", () => {
  const preview = document.getElementById("rule-preview");
  const form = preview && preview.closest("form");
  if (!form) return;
  const result = document.getElementById("rule-preview-result");
  const value = (name) => form.elements[name]?.value.trim() || "";
  const label = (name) => {
    const field = form.elements[name];
    return field?.selectedOptions?.[0]?.value ? field.selectedOptions[0].textContent.trim() : "";
  };

  function when() {
    const threshold = value("threshold") || "…";
    switch (value("kind")) {
      case "silence": return `a device has had no contact for ${threshold} minutes`;
      case "certificate": return `a certificate expires within ${threshold} days`;
      case "drift": return `a configuration has not been applied for ${threshold} minutes`;
      default: return `${label("measure") || "a metric"} is ${label("operator") || "above"} ${threshold}`;
    }
  }

  function where() {
    switch (value("scope")) {
      case "site": return `devices at the site ${value("site_name") || "…"}`;
      case "tag": return `devices with the tag ${value("tag_name") || "…"}`;
      case "device": return `the device ${value("device_id") || "…"}`;
      default: return "all devices";
    }
  }

  function describe() {
    const minutes = value("lasting_minutes");
    const lasting = minutes ? ` for ${minutes} minute${minutes === "1" ? "" : "s"}` : "";
    document.getElementById("rule-sentence").textContent =
      `When ${when()}${lasting} on ${where()}, raise an alert: ${label("severity") || "medium"}.`;
  }

  form.addEventListener("input", describe);
  form.addEventListener("change", describe);
  describe();

  preview.querySelector("button").addEventListener("click", async () => {
    result.textContent = "Testing …";
    try {
      const response = await fetch(preview.dataset.address, { method: "POST", body: new FormData(form) });
      if (!response.ok) throw new Error(response.status);
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      result.replaceChildren(...page.body.childNodes);
    } catch { result.textContent = "The back-test does not answer. Try again."; }
  });
});
