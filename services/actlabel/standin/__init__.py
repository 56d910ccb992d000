"""An OpenAI-compatible server with small real models or recorded answers."""
