// SPDX-License-Identifier: BSD-2-Clause
//
// containers: what C++ programs do most: an ordered map with string values, a hash map of vectors, vectors of strings
// that are sorted and thrown away, a list that is spliced; all through operator new and delete.

#include "workload.h"
#include <algorithm>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

/// A string of 4 to 67 letters: some fit into the string object itself, most do not.
std::string word(uint64_t &state) {
  std::string text(4 + drawBelow(&state, 64), 'a');
  for (size_t i = 0; i < text.size(); i += 4) text[i] = char('a' + drawBelow(&state, 26));
  return text;
}

uint64_t orderedMap(uint64_t &state, int count) {
  std::map<uint32_t, std::string> map;
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) {
    map[uint32_t(drawBelow(&state, 4000))] = word(state);
    auto found = map.lower_bound(uint32_t(drawBelow(&state, 4000)));
    if (found != map.end() && i % 2) sum += found->second.size(), map.erase(found);
  }
  return sum + map.size();
}

uint64_t hashMap(uint64_t &state, int count) {
  std::unordered_map<std::string, std::vector<uint32_t>> map;
  for (int i = 0; i < count; i++) map["key " + std::to_string(drawBelow(&state, 2000))].push_back(uint32_t(i));
  uint64_t sum = 0;
  for (auto &entry : map) sum += entry.second.size() * entry.second.back();
  return sum;
}

uint64_t sortedWords(uint64_t &state, int count) {
  std::vector<std::string> words;
  for (int i = 0; i < count; i++) words.push_back(word(state));
  std::sort(words.begin(), words.end());
  std::vector<std::string> copy(words.rbegin(), words.rend());
  return copy.front().size() * 7 + copy.back().size();
}

uint64_t splicedLists(uint64_t &state, int count) {
  std::list<uint64_t> left, right;
  for (int i = 0; i < count; i++) {
    left.push_back(drawBelow(&state, 1000));
    if (i % 3 == 0) right.splice(right.begin(), left, left.begin());
    if (right.size() > 500) right.pop_back();
  }
  uint64_t sum = 0;
  for (uint64_t value : right) sum += value;
  return sum + left.size();
}

}  // namespace

void containers(Run *run) {
  uint64_t rounds = scaled(run, 200), state = run->seed, sum = 0;
  const int count = 6000;
  begin(run);
  for (uint64_t round = 0; round < rounds; round++) {
    sum += orderedMap(state, count) + hashMap(state, count);
    sum += sortedWords(state, count) + splicedLists(state, count);
  }
  end(run);
  run->ops = rounds * 4 * count;
  run->checksum = sum;
}
