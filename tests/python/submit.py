import requests

response = requests.post(
    "http://localhost:8000/api/training/jobs/my_job_123/submit",
    json={"provider": "local"}
)

if response.status_code == 200:
    data = response.json()
    print(f"Job submitted: {data['provider_job_id']}")
