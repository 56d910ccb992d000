// Exchanges a token for a session; the token is kept nowhere.
const form = document.getElementById("login");
const token = document.getElementById("token");
const problem = document.getElementById("problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.textContent = "";
  try {
    const response = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Actlabel": "review" },
      body: JSON.stringify({ token: token.value.trim() }),
    });
    if (response.ok) return location.replace("/" + location.search);
    const said = await response.json();
    problem.textContent = response.status === 401 ? "This token is not known. Copy it again, whole." : said.error.message;
  } catch {
    problem.textContent = "The gateway cannot be reached; try again.";
  }
  token.select();
});
