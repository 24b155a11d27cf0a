"""The HTTP face of the bank: FastAPI, RFC 9457 problems, uvicorn.

Start reading at ``app.py``; ``transfers_api.py`` is the hot path.
"""
