#!/usr/bin/env bash
# The quick start: a Fargate task from image to bill with unmodified clients. Called by `make run`;
# it can be run again on top of itself.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
show() { bold "\$ $*"; "$@"; }          # print a command, then its answer

show neargate up
eval "$(neargate env)"                   # AWS_ENDPOINT_URL and credentials: all that AWS tools need
export AWS_PAGER=""
account=$(aws sts get-caller-identity --query Account --output text)
registry=${AWS_ENDPOINT_URL#*://}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bold "# An image out of Debian's busybox-static, pushed to the built-in ECR"
python examples/make_image.py "$work/image"
aws ecr describe-repositories --repository-names web-app >/dev/null 2>&1 ||
    show aws ecr create-repository --repository-name web-app
bold "\$ aws ecr get-login-password | skopeo login --username AWS --password-stdin $registry"
aws ecr get-login-password | skopeo login --tls-verify=false --authfile "$work/auth.json" \
    --username AWS --password-stdin "$registry"
show skopeo copy --quiet --authfile "$work/auth.json" --dest-tls-verify=false \
    "oci:$work/image:latest" "docker://$registry/web-app:latest"

bold "# A log group, a cluster, a task definition"
aws logs describe-log-groups --log-group-name-prefix /ecs/my-fargate-app --output text | grep -q . ||
    show aws logs create-log-group --log-group-name /ecs/my-fargate-app
show aws ecs create-cluster --cluster-name demo --query cluster.clusterArn
cat >"$work/task.json" <<JSON
{
  "family": "my-fargate-task",
  "requiresCompatibilities": ["FARGATE"],
  "networkMode": "awsvpc",
  "cpu": "256",
  "memory": "512",
  "taskRoleArn": "arn:aws:iam::$account:role/ecsTaskRole",
  "executionRoleArn": "arn:aws:iam::$account:role/ecsTaskExecutionRole",
  "containerDefinitions": [{
    "name": "web-app",
    "image": "$account.dkr.ecr.$AWS_REGION.amazonaws.com/web-app:latest",
    "portMappings": [{"containerPort": 80}],
    "logConfiguration": {
      "logDriver": "awslogs",
      "options": {
        "awslogs-group": "/ecs/my-fargate-app",
        "awslogs-region": "$AWS_REGION",
        "awslogs-stream-prefix": "ecs"
      }
    }
  }]
}
JSON
show aws ecs register-task-definition --cli-input-json "file://$work/task.json" \
    --query taskDefinition.taskDefinitionArn

bold "# Run it"
subnet=$(aws ec2 describe-subnets --query 'Subnets[0].SubnetId' --output text)
show aws ecs run-task --cluster demo --launch-type FARGATE --task-definition my-fargate-task \
    --network-configuration "awsvpcConfiguration={subnets=[$subnet],assignPublicIp=ENABLED}" \
    --query 'tasks[0].{task: taskArn, status: lastStatus}' | tee "$work/run.json"
task=$(sed -n 's/.*"task": "\(.*\)".*/\1/p' "$work/run.json")
show aws ecs wait tasks-running --cluster demo --tasks "$task"
show aws ecs describe-tasks --cluster demo --tasks "$task" \
    --query 'tasks[0].{status: lastStatus, attachments: attachments, containers: containers[].runtimeId}'
address=$(aws ecs describe-tasks --cluster demo --tasks "$task" --output text \
    --query "tasks[0].attachments[0].details[?name=='privateIPv4Address'].value")
show curl --silent --show-error --retry 20 --retry-connrefused --retry-delay 1 --noproxy '*' "http://$address/"
sleep 1
# PyPI's awscli is version 1, which has no `logs tail`; Debian's is version 2, too old for AWS_ENDPOINT_URL.
show /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" logs tail /ecs/my-fargate-app --since 1m
show neargate ps

bold "# Stop it, and see the bill"
show aws ecs stop-task --cluster demo --task "$task" --reason "quick start done" --query task.desiredStatus
show aws ecs wait tasks-stopped --cluster demo --tasks "$task"
show aws ecs describe-tasks --cluster demo --tasks "$task" \
    --query 'tasks[0].{status: lastStatus, why: stoppedReason, code: stopCode, exit: containers[0].exitCode}'
show neargate cost
bold "The daemon runs on at $AWS_ENDPOINT_URL; \`.venv/bin/neargate down\` stops it and leaves nothing."
